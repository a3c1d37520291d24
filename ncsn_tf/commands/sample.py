"""`ncsn sample`: images from a checkpoint, an export or a server."""

import dataclasses
from pathlib import Path

import numpy as np

from ncsn_tf.commands.condition_options import MODES, ConditionOptions
from ncsn_tf.commands.start import start_for_sampling
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import user_path
from ncsn_tf.generation import check_places, write_samples
from ncsn_tf.generation.shards import Shard, check_folder, write_shard
from ncsn_tf.serving.server_origin import Server
from ncsn_tf.serving.transport import Address
from ncsn_tf.settings.averages import check_ema, ema_option
from ncsn_tf.settings.chain import CHAIN_SETTINGS, ChainOptions
from ncsn_tf.settings.checkpoint import NEWEST, checkpoint_option
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_inputs, check_run
from ncsn_tf.settings.options import option, show, values_of
from ncsn_tf.settings.pretrained import check_pretrained, pretrained_option, pretrained_run

SUMMARY = """\
Draw images from a trained network, each from its own seed:

  ncsn sample                            from the newest run's newest checkpoint
  ncsn sample --pretrained=mnist         from a trained network that is here
  ncsn sample --checkpoint=best          from the one that training kept as the best, or a step's
  ncsn sample --saved_model              from the newest run's export (made if there is none)
  ncsn sample --saved_model=DIR          from any exported sampler
  ncsn sample --server=host:8500         from TensorFlow Serving, over gRPC
  ncsn sample --server=http://host:8501  from TensorFlow Serving, over REST

by several processes or machines, of which each draws a part, put together by ncsn merge:

  ncsn sample --num_samples=50000 --shard=0/8

of classes, from a network that knows them (--class_conditional in training):

  ncsn sample --label=each --guidance=1.5  a row of each class; or --label=3, or --label=cat,dog

or, from a checkpoint, by conditional sampling:

  ncsn sample --inpaint=a.png            fills the right half, or --mask
  ncsn sample --colorize=a.png           gives the picture colour
  ncsn sample --super_resolve=a.png      enlarges it, by --factor
  ncsn sample --interpolate=3,8          from the image of seed 3 to the noise of seed 8
  ncsn sample --classifier=FILE --label=3  one class; FILE by ncsn classifier"""

_NEWEST = "newest"
_NUM_SAMPLES = 25
_NUM_OF_EACH = 8  # of several classes
_DEFAULT_OUT = {"grid": "samples.png", "png": "samples", "npz": "samples.npz"}
_OF_REQUESTS = (
    "step_lr",
    "num_steps_each",
    "num_evaluations",
)  # what an export takes with each request
_FIXED_IN_EXPORTS = (
    *(name for name in CHAIN_SETTINGS if name not in _OF_REQUESTS),
    "checkpoint",
    "average",
    "ema",
)
_ONLY_CHECKPOINTS = (*MODES, "classifier", "movie", "pretrained")
_NOT_FOR_SERVERS = (
    *_FIXED_IN_EXPORTS,
    *_ONLY_CHECKPOINTS,
    *("workdir", "saved_model", "num_virtual_devices"),
)
_ONLY_SERVERS = ("model", "model_version", "deadline", "retries", "backoff", "in_flight")


@dataclasses.dataclass(frozen=True)
class SampleOptions(ConditionOptions, ChainOptions):
    """The flags of sample.py."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source", path=True)
    pretrained: str = pretrained_option()
    saved_model: str = option(
        "",
        "draw from an export: alone the run's newest, else this folder",
        "source",
        bare=_NEWEST,
        path=True,
        reads=(_NEWEST,),
    )
    server: str = option(
        "", "draw from TensorFlow Serving: host:port (gRPC), http://host:port (REST)", "source"
    )
    checkpoint: str = checkpoint_option()
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    ema: float | None = ema_option()
    num_samples: int | None = option(
        None,
        f"images to draw [{_NUM_SAMPLES}, or one for each picture if more]; of several classes, of "
        f"each [{_NUM_OF_EACH}]",
        "samples",
        least=1,
        below=10_000_001,
    )
    batch_size: int = option(
        64, "images at a time, or in a request; changes no image", "samples", least=1, below=2**20
    )
    seed: int = option(0, "seed of the first image; image i has seed + i", "samples")
    out: str = option(
        "",
        "file or folder (of a grid: .png or .jpg); empty is samples.png, samples/, samples.npz",
        "output",
        path=True,
    )
    format: str = option(
        "grid",
        "one grid, single PNGs, or arrays (images, seeds, labels)",
        "output",
        choices=("grid", "png", "npz"),
    )
    movie: str = option(
        "", "also write the chain of the first images: a .gif or .webp", "output", path=True
    )
    model: str = option("ncsn", "name of the model on the server", "server")
    model_version: int = option(0, "its version; 0 is the newest", "server", least=0, below=2**63)
    deadline: float = option(
        600.0, "seconds for a request, or for a model to load", "server", above=0, below=1e8
    )
    retries: int = option(
        3, "repetitions of a request that may yet succeed", "server", least=0, below=101
    )
    backoff: float = option(
        1.0, "seconds before the first repetition; doubles each time", "server", least=0, below=1e6
    )
    in_flight: int = option(4, "requests at the same time", "server", least=1, below=1025)
    shard: str = option(
        "",
        "draw part i of n into a folder: i/n, i from 0; auto: by SLURM's or Kubernetes' variables",
        "output",
    )
    block: int = option(
        256, "images in a file of a shard; of all shards the same", "output", least=1, below=2**20
    )
    num_virtual_devices: int = option(
        0, "virtual CPU devices; 0 leaves it whole", "run", least=0, below=257
    )

    def validate(self) -> None:
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
        check_pretrained(self.pretrained, self.workdir, self.checkpoint, NEWEST, self.average)
        check_ema(self.ema, self.average, self.pretrained)
        self.validate_condition()
        if self.interpolate is not None:
            self._forbid(("seed",), "cannot be used with --interpolate, which names its seeds")
        self.count()
        if self.shard:
            Shard.parse(self.shard)
            self._forbid(
                ("format", "movie", *MODES),
                "cannot be used with --shard: it writes arrays, for ncsn merge",
            )
        elif self.block != SampleOptions.block:
            raise ConfigError(f"{show('block', self.block)} needs --shard")

    def _forbid(self, names, why):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in names and value != field.default:
                raise ConfigError(f"{show(field.name, value)} {why}")

    def count(self, num_pictures: int = 0, num_classes: int = 1) -> int:
        """How many images to draw, if there are that many pictures to complete, of these classes.

        Raises:
            ConfigError: their seeds do not fit 64 bits.
        """
        if num_classes > 1:
            count = (self.num_samples or num_pictures or _NUM_OF_EACH) * num_classes
        else:
            count = self.num_samples or max(_NUM_SAMPLES, num_pictures)
        if not -(2**63) <= self.seed <= self.seed + count - 1 < 2**63:
            raise ConfigError(f"{show('seed', self.seed)} and the seeds after it must fit 64 bits")
        return count

    def of_requests(self) -> dict[str, object]:
        """The arguments of `server_origin.Server` beside the address."""
        return {**values_of(self, (*_OF_REQUESTS, "batch_size", *_ONLY_SERVERS)), **self.classes()}

    def of_chains(self) -> dict[str, object]:
        """The arguments of `checkpoint_origin.Opened.origin` beside `keep_frames`."""
        return {
            "chain": values_of(self, CHAIN_SETTINGS),
            "condition": self.condition(self.seed, self.count(), self.denoise),
            "batch_size": self.batch_size,
            **self.classes(),
        }

    @property
    def target(self) -> Path:
        """Where the samples go."""
        return user_path(self.out or ("samples" if self.shard else _DEFAULT_OUT[self.format]))


def main(argv: list[str]) -> None:
    """Draw the samples that the flags ask for, and write them."""
    options = parse_options(argv, SampleOptions, SUMMARY)
    options.validate()
    check_inputs(options)
    places = {"output": options.target, "format": options.format, "movie": options.movie}
    if options.shard:
        check_folder(options.target)
    else:
        check_places(options.seed, **places)
    if options.saved_model in ("", _NEWEST):
        check_run(options.workdir)
    if options.server:  # then TensorFlow is not started, and no device is taken
        origin = Server(options.server, **options.of_requests())
    else:
        num_images = min(options.batch_size, options.num_samples or options.batch_size)
        strategy = start_for_sampling(num_images, options.num_virtual_devices)
        from ncsn_tf.generation.checkpoint_origin import Opened
        from ncsn_tf.serving.export_origin import Export, newest_export
        from ncsn_tf.training.averages import open_weights

        if options.saved_model:
            is_newest = options.saved_model == _NEWEST
            folder = newest_export(options.workdir) if is_newest else options.saved_model
            given = values_of(options, (*_OF_REQUESTS, "batch_size"))
            origin = Export(folder, **given, **options.classes())
        else:
            workdir = options.workdir
            if options.pretrained:
                workdir = pretrained_run(options.pretrained)
            with strategy.scope():
                weights = values_of(options, ("average", "checkpoint", "ema"))
                opened = Opened(open_weights(workdir, **weights))
                origin = opened.origin(**options.of_chains(), keep_frames=bool(options.movie))
    num_pictures = 0 if origin.inputs is None else len(origin.inputs)
    num_classes = 1 if origin.labels is None else len(origin.labels.classes)
    if num_classes > 1 and options.interpolate is not None:
        raise ConfigError(f"{show('label', options.label)} must be one class with --interpolate")
    count = options.count(num_pictures, num_classes)
    if count < num_pictures:
        print(f"Completing the first {count} of {num_pictures} pictures (--num_samples)")
    if options.shard:
        _draw_shard(origin, options, count)
        return
    seeds = options.seed + np.arange(count, dtype=np.int64)
    print(f"Wrote {write_samples(origin, seeds, **places)}")


def _draw_shard(origin, options, count):
    shard = Shard.parse(options.shard)
    place = {"folder": options.target, "block": options.block}
    files = write_shard(origin, shard, options.seed, count, **place)
    part = f"shard {shard.index} of {shard.count}"
    if files:
        print(f"Wrote {part}: {options.target}, {len(files)} files ({files[0].name} ...)")
    else:
        print(f"Nothing to do for {part}: all images are in fewer files (--block)")
