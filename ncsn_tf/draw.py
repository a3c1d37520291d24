"""The work of sample.py: seeds to image files."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Optional

from ncsn_tf.chain_options import CHAIN_SETTINGS, ChainOptions
from ncsn_tf.condition_options import MODES, ConditionOptions
from ncsn_tf.errors import ConfigError
from ncsn_tf.options import option, show
from ncsn_tf.transport import Address

_NEWEST = "newest"
_NUM_SAMPLES = 25
_DEFAULT_OUT = {"grid": "samples.png", "png": "samples", "npz": "samples.npz"}
_OF_REQUESTS = ("step_lr", "num_steps_each")  # what an export takes with each request
_FIXED_IN_EXPORTS = (*(name for name in CHAIN_SETTINGS if name not in _OF_REQUESTS), "average")
_ONLY_CHECKPOINTS = (*MODES, "classifier", "movie")
_NOT_FOR_SERVERS = (
    *_FIXED_IN_EXPORTS,
    *_ONLY_CHECKPOINTS,
    *("workdir", "saved_model", "num_virtual_devices"),
)
_ONLY_SERVERS = ("model", "model_version", "deadline", "retries", "backoff", "in_flight")


@dataclasses.dataclass(frozen=True)
class SampleOptions(ConditionOptions, ChainOptions):
    """The flags of sample.py."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source")
    saved_model: str = option(
        "", "draw from an export: alone the run's newest, else this folder", "source", bare=_NEWEST
    )
    server: str = option(
        "", "draw from TensorFlow Serving: host:port (gRPC), http://host:port (REST)", "source"
    )
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    num_samples: Optional[int] = option(  # noqa: UP045 (a type that the flag parser reads)
        None,
        f"images to draw [{_NUM_SAMPLES}, or one for each picture if more]",
        "samples",
        least=1,
    )
    batch_size: int = option(
        64, "images at a time, or in a request; changes no image", "samples", least=1
    )
    seed: int = option(0, "seed of the first image; image i has seed + i", "samples")
    out: str = option("", "file or folder; empty is samples.png, samples/ or samples.npz", "output")
    format: str = option(
        "grid",
        "one grid, single PNGs, or arrays (images, seeds)",
        "output",
        choices=("grid", "png", "npz"),
    )
    movie: str = option("", "also write the chain of the first images as GIF", "output")
    model: str = option("ncsn", "name of the model on the server", "server")
    model_version: int = option(0, "its version; 0 is the newest", "server", least=0, below=2**63)
    deadline: float = option(
        600.0, "seconds for a request, or for a model to load", "server", above=0, below=1e8
    )
    retries: int = option(3, "repetitions of a request that may yet succeed", "server", least=0)
    backoff: float = option(
        1.0, "seconds before the first repetition; doubles each time", "server", least=0
    )
    in_flight: int = option(4, "requests at the same time", "server", least=1)
    num_virtual_devices: int = option(0, "virtual CPU devices; 0 leaves it whole", "run", least=0)

    def validate(self):
        """Raise a ConfigError for flags that contradict each other."""
        if self.server:
            Address.parse(self.server)
            self._forbid(_NOT_FOR_SERVERS, "cannot be used with --server: its model is what it is")
            if not self.model:
                raise ConfigError("--model= must name a model of the server")
        else:
            self._forbid(_ONLY_SERVERS, "needs --server")
        if self.saved_model:
            self._forbid(
                _FIXED_IN_EXPORTS,
                "cannot be used with --saved_model: draw from the checkpoint, or export again",
            )
            self._forbid(
                _ONLY_CHECKPOINTS, "cannot be used with --saved_model: it needs a checkpoint"
            )
        self.validate_condition()
        if self.interpolate is not None:
            self._forbid(("seed",), "cannot be used with --interpolate, which names its seeds")
        self.count()

    def _forbid(self, names, why):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in names and value != field.default:
                raise ConfigError(f"{show(field.name, value)} {why}")

    def count(self, num_pictures=0):
        """How many images to draw, if there are that many pictures to complete.

        Raises:
            ConfigError: their seeds do not fit 64 bits.
        """
        count = self.num_samples or max(_NUM_SAMPLES, num_pictures)
        if not -(2**63) <= self.seed <= self.seed + count - 1 < 2**63:
            raise ConfigError(f"{show('seed', self.seed)} and the seeds after it must fit 64 bits")
        return count

    @property
    def newest_export(self):
        """Whether --saved_model stands alone, without a folder."""
        return self.saved_model == _NEWEST

    @property
    def target(self):
        """Where the samples go."""
        return Path(self.out or _DEFAULT_OUT[self.format]).expanduser()


def draw(options, strategy=None):
    """Draw the samples and write them.

    Args:
        options: `SampleOptions`, validated.
        strategy: the distribution strategy over whose replicas a checkpoint's chain is spread.

    Returns:
        Path of what was written.

    Raises:
        UserError: no run, no checkpoint, not an export, a server that does not answer, or the place
            cannot be written. Single PNGs written before that stay.
    """
    import numpy as np
    from tqdm import tqdm

    from ncsn_tf import origins, outputs

    first = f"{options.seed:06d}.png" if options.format == "png" else ""
    outputs.check_place(options.target / first)
    if options.movie:
        outputs.check_place(options.movie)
    origin = origins.open_origin(options, strategy)
    num_pictures = 0 if origin.inputs is None else len(origin.inputs)
    count = options.count(num_pictures)
    if count < num_pictures:
        print(f"Completing the first {count} of {num_pictures} pictures (--num_samples)")
    seeds = options.seed + np.arange(count, dtype=np.int64)
    output = outputs.BY_FORMAT[options.format](options.target)
    if options.format == "grid" and origin.inputs is not None:
        output = outputs.Completions(options.target, origin.inputs)
    bar = tqdm(total=origin.amount(len(seeds)), disable=None, unit=origin.unit)
    # Closed also when writing fails: requests in flight are broken off.
    with bar, contextlib.closing(origin.images(seeds, bar)) as batches:
        for batch, pictures in batches:
            output.add(batch, pictures)
    if options.movie:
        outputs.save_movie(options.movie, origin.frames)
    return output.close()
