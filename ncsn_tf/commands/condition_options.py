"""The flags of sample.py for conditional sampling."""

import dataclasses
import re

from ncsn_tf.backend.choices import MASKS
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.options import option, show, values_of

MODES = ("inpaint", "colorize", "super_resolve", "interpolate")


@dataclasses.dataclass(frozen=True)
class ConditionOptions:
    """What is known of the images, and where it comes from. One of `MODES` at most is given."""

    # `X | None`, which the flag parser reads, and not `X | None`.
    inpaint: str | None = option(
        None,
        "fill part of this picture, or of a folder or .npz of them",
        "condition",
        path=True,
        reads=(),
    )
    mask: str = option(
        "right",
        f"part to fill: {'|'.join(MASKS)}, or a picture, white to be filled",
        "condition",
        path=True,
        reads=MASKS,
    )
    colorize: str | None = option(
        None,
        "colour a picture, a folder or .npz; grey is (R + G + B) / 3",
        "condition",
        path=True,
        reads=(),
    )
    super_resolve: str | None = option(
        None, "enlarge this picture, a folder or .npz", "condition", path=True, reads=()
    )
    factor: int = option(4, "how much --super_resolve enlarges", "condition", least=2, below=2**14)
    resize: bool = option(False, "crop and resize pictures of another size", "condition")
    classifier: str | None = option(
        None, "draw one class, by a file of ncsn classifier", "condition", path=True, reads=()
    )
    label: str | None = option(
        None,
        "class to draw: a name or number, several as a,b, each for all; of --classifier a number",
        "condition",
    )
    guidance: float = option(
        1.0,
        "weight of --label: 1 is the class as learnt, more is surer of it and costs twice the work",
        "condition",
        least=0,
        below=1e6,
    )
    classifier_scale: float = option(
        1.0, "weight of the classifier", "condition", least=0, below=1e6
    )
    interpolate: str | None = option(
        None,
        "from the image of seed A to the noise of seed B (of ode, dpm, ...: its image): A,B",
        "condition",
    )

    @property
    def mode(self) -> str | None:
        """The one of `MODES` that is given, or None."""
        return next((name for name in MODES if getattr(self, name) is not None), None)

    def validate_condition(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
        for name in (*MODES[:3], "classifier"):
            if getattr(self, name) == "":
                raise ConfigError(f"{show(name, '')} must name a file")
        given = [name for name in MODES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(
                f"{show(given[1], getattr(self, given[1]))} cannot be used with "
                f"{show(given[0], getattr(self, given[0]))}"
            )
        self._needs("mask", ("inpaint",))
        self._needs("factor", ("super_resolve",))
        self._needs("resize", MODES[:3])
        if self.classifier and self.label is None:
            raise ConfigError(f"{show('classifier', self.classifier)} needs --label, the class")
        if self.classifier and not re.fullmatch("[0-9]{1,9}", self.label):
            raise ConfigError(f"{show('label', self.label)} must be a number with --classifier")
        if not self.classifier and self.classifier_scale != _default(self, "classifier_scale"):
            raise ConfigError(
                f"{show('classifier_scale', self.classifier_scale)} needs --classifier"
            )
        if self.guidance != _default(self, "guidance"):
            if self.classifier:
                raise ConfigError(
                    f"{show('guidance', self.guidance)} cannot be used with --classifier, whose "
                    "weight is --classifier_scale"
                )
            if self.label is None:
                raise ConfigError(f"{show('guidance', self.guidance)} needs --label")
        if self.label == "":
            raise ConfigError("--label= must name a class")
        if self.interpolate is not None:
            self.interpolated_seeds()

    def _needs(self, name, modes):
        value = getattr(self, name)
        if value != _default(self, name) and self.mode not in modes:
            raise ConfigError(f"{show(name, value)} needs {' or '.join(f'--{m}' for m in modes)}")

    def condition(self, first_seed: int, count: int, denoise: bool | None) -> dict[str, object]:
        """The arguments of `generation.conditions.open_condition` for these flags.

        Args:
            first_seed: seed of the first image.
            count: how many images an interpolation has.
            denoise: whether to end with a denoising step; None is the run's habit.
        """
        names = ("inpaint", "mask", "colorize", "super_resolve", "factor", "resize", "classifier")
        return {
            **values_of(self, (*names, "classifier_scale")),
            "label": int(self.label) if self.classifier else 0,
            "interpolate": None if self.interpolate is None else self.interpolated_seeds(),
            "first_seed": first_seed,
            "count": count,
            "denoise": denoise,
        }

    def classes(self) -> dict[str, object]:
        """`label` and `guidance` of a network that knows classes, for what opens an origin."""
        return {} if self.classifier else {"label": self.label, "guidance": self.guidance}

    def interpolated_seeds(self) -> tuple[int, int]:
        """(A, B) of --interpolate=A,B."""
        try:
            first, second = (int(part) for part in self.interpolate.split(","))
        except ValueError:
            first = second = 2**63
        if not all(-(2**63) <= seed < 2**63 for seed in (first, second)):
            raise ConfigError(
                f"{show('interpolate', self.interpolate)} must be two 64-bit seeds, such as 3,8"
            )
        return first, second


def _default(options, name):
    (field,) = (field for field in dataclasses.fields(options) if field.name == name)
    return field.default
