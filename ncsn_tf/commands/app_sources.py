"""Where the images of `ncsn app` come from, and what can be asked of it: a run, or a server.

A wish is turned into the flags of `ncsn sample`, which are then read as that command reads them: so
what is refused is refused with the same words, and the command that is shown draws the same images.
"""

from __future__ import annotations

import dataclasses
import shlex

import numpy as np

from ncsn_tf.commands.sample import SampleOptions
from ncsn_tf.errors import ConfigError
from ncsn_tf.generation.playing import Drawing
from ncsn_tf.serving.server_origin import Server
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_inputs
from ncsn_tf.settings.options import show

MOST_IMAGES = 64  # of a wish


@dataclasses.dataclass(frozen=True)
class Wish:
    """What somebody asks of the page.

    Attributes:
        seed: of the first image; of an interpolation, of the first end.
        count: images.
        sampler: its name; "" is that of the run, or of the server's model.
        steps: see `steps_flag`; None is the run's own.
        label, guidance: the class, "" for none, and its weight.
        picture, mask: paths of what is to be filled; "" for none.
        other_seed: the other end of an interpolation; None where there is none.
    """

    seed: int = 0
    count: int = 1
    sampler: str = ""
    steps: int | None = None
    label: str = ""
    guidance: float = 1.0
    picture: str = ""
    mask: str = ""
    other_seed: int | None = None

    def flags(self, source: Source) -> list[str]:
        """The flags of `ncsn sample` that draw it from a source.

        Raises:
            ConfigError: more images than `MOST_IMAGES`, or an interpolation of a single one.
        """
        if not 1 <= self.count <= MOST_IMAGES:
            raise ConfigError(f"images must be 1 to {MOST_IMAGES}, not {self.count}")
        given = {"num_samples": self.count}
        if self.other_seed is None:
            given["seed"] = self.seed
        else:
            given["interpolate"] = f"{self.seed},{self.other_seed}"
        if self.picture:
            given |= {"inpaint": self.picture, "mask": self.mask}
        if self.sampler:
            given["sampler"] = self.sampler
        steps = source.steps_flag(self.sampler)
        if self.steps is not None and steps:
            given[steps] = self.steps
        if self.label:
            given["label"] = self.label
            if self.guidance != 1.0:
                given["guidance"] = self.guidance
        return [*source.flags, *(show(name, value) for name, value in given.items())]


class Source:
    """What the page draws from.

    Attributes:
        name: for the page.
        flags: those of `ncsn sample` that name it.
        samplers: {"draw", "complete" or "between": names of the samplers that can}; "" first where
            the source's own can.
        class_names: of the network; none where it knows no classes.
        image_shape: (H, W, C); None where it is not known.
        crop_size: see `decoding.fitted`.
        shows_chain: whether the images can be seen on their way.
    """

    flags: list[str]
    samplers: dict[str, list[str]]
    class_names: list[str]
    image_shape: tuple[int, int, int] | None = None
    crop_size = 0
    shows_chain = True

    def steps_flag(self, sampler: str) -> str | None:
        """The flag for the number of steps of a sampler; None where it has none."""
        raise NotImplementedError

    def drawing(self, flags: list[str]) -> Drawing:
        """What draws the images of these flags of `ncsn sample`.

        Raises:
            ConfigError: flags that cannot be, as that command says it.
            UserError: what cannot be drawn.
        """
        options = parse_options(["ncsn sample", *flags], SampleOptions)
        options.validate()
        check_inputs(options)
        origin = self._origin(options)
        count = options.count(*(() if origin.inputs is None else (len(origin.inputs),)))
        return Drawing(origin, options.seed + np.arange(count, dtype=np.int64))

    def _origin(self, options):
        raise NotImplementedError


class ServedSource(Source):
    """A server's model, whose sampler is what it is.

    Args:
        flags: those of `ncsn sample` that name it.
        address, model: of the server.

    Raises:
        UserError: it cannot be reached, or has no such model.
    """

    shows_chain = False

    def __init__(self, flags: list[str], address: str, model: str) -> None:
        server = Server(address, model=model)
        self.flags = flags
        self.name = " ".join(flags)
        self.class_names = server.class_names()
        self.samplers = {"draw": [""], "complete": [], "between": []}
        self._steps = "num_evaluations" if server.takes_evaluations else "num_steps_each"
        server.close()

    def steps_flag(self, sampler: str) -> str | None:
        return self._steps

    def _origin(self, options):
        return Server(options.server, **options.of_requests())


def command_of(flags: list[str]) -> str:
    """The command that draws with these flags, as a shell reads it.

    Example:
        >>> command_of(["--workdir=my runs/a", "--seed=3"])
        "ncsn sample '--workdir=my runs/a' --seed=3"
    """
    return shlex.join(["ncsn", "sample", *flags])


def commands_of_each(wish: Wish, source: Source) -> list[str]:
    """For each image of a wish the command that draws it alone.

    Of an interpolation, whose images depend on their number, there is none but that for all.
    """
    if wish.other_seed is not None:
        return []
    alone = (
        dataclasses.replace(wish, seed=wish.seed + place, count=1) for place in range(wish.count)
    )
    return [command_of(each.flags(source)) for each in alone]
