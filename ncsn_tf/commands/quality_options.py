"""The flags of evaluate.py for figures of quality."""

import dataclasses

from ncsn_tf.backend.choices import QUALITY_METRICS
from ncsn_tf.errors import ConfigError
from ncsn_tf.generation.shards import Shard
from ncsn_tf.settings.chain import CHAIN_SETTINGS
from ncsn_tf.settings.class_flags import ClassOptions
from ncsn_tf.settings.options import ANY_NAME, option, show

ALL = "all"
NEWEST = "newest"
NUM_SAMPLES = 5_000
OF_REQUESTS = (
    "step_lr",
    "num_steps_each",
    "num_evaluations",
)  # what an export takes with each request
_OF_DRAWING = (*CHAIN_SETTINGS, "saved_model", "num_seed_ranges", "shard", "label", "guidance")


@dataclasses.dataclass(frozen=True)
class QualityOptions(ClassOptions):
    """What is measured of samples, with which network, against what. For a `ChainOptions` too."""

    metrics: str = option(
        "", f"some of {','.join(QUALITY_METRICS)}; alone all that can be had", "what", bare=ALL
    )
    saved_model: str = option(
        "",
        "--metrics of an export: alone the run's newest, else this folder",
        "source",
        bare=NEWEST,
        path=True,
        reads=(NEWEST,),
    )
    samples: str = option(
        "",
        "--metrics of images that are there: a folder, an .npz or a .npy",
        "source",
        path=True,
        reads=(),
    )
    num_samples: int | None = option(
        None,
        f"samples of each seed range [{NUM_SAMPLES}; to compare 1000; of --samples all]",
        "quality",
        least=1,
        below=10_000_001,
    )
    num_seed_ranges: int = option(
        1, "draw so many ranges of seeds: minimum, mean and spread", "quality", least=1, below=1001
    )
    features: str = option(
        "inception",
        "what images are compared by: inception, efficientnet-lite0, train, or a path",
        "quality",
        path=True,
        reads=ANY_NAME,
    )
    inception: str = option(
        "",
        "the file of the 2015 graph; empty is where it is looked for",
        "quality",
        path=True,
        reads=(),
    )
    reference: str = option(
        "",
        "compare with this instead of --split: an .npz of mu and sigma, or images",
        "quality",
        path=True,
        reads=(),
    )
    pairs: int = option(
        10_000,
        "most images of each kind for kid, precision and recall",
        "quality",
        least=4,
        below=10_000_001,
    )
    copies: str = option(
        "auto",
        "are samples closer to training images than test images? auto: if that is quick",
        "quality",
        choices=("auto", "always", "never"),
    )
    shard: str = option(
        "", "draw part i of n of the samples, i/n, i from 0, and measure nothing", "quality"
    )

    @property
    def names(self) -> list[str] | None:
        """The metrics; None is all that can be had."""
        if self.metrics == ALL:
            return None
        return [*dict.fromkeys(name.strip().lower() for name in self.metrics.split(","))]

    @property
    def seeds_in_all(self) -> int:
        """How many samples are drawn, of all seed ranges."""
        return (self.num_samples or NUM_SAMPLES) * self.num_seed_ranges

    def validate_quality(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
        names = [field.name for field in dataclasses.fields(QualityOptions)]
        names = [*names, *CHAIN_SETTINGS]
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = {
            name: getattr(self, name) for name in names if getattr(self, name) != defaults[name]
        }
        if not self.metrics and not self.is_tuning:
            for name in given.keys() - {"ode_tolerance"}:  # which the likelihood has too
                raise ConfigError(f"{show(name, given[name])} needs --metrics")
            return
        for name in (self.names or ()) if self.metrics else ():
            if name not in QUALITY_METRICS:
                known = ", ".join(QUALITY_METRICS)
                raise ConfigError(f"{show('metrics', self.metrics)} must be some of {known}")
        for name, value in given.items():
            if self.samples and name in _OF_DRAWING:
                raise ConfigError(
                    f"{show(name, value)} cannot be used with --samples: they are drawn already"
                )
            if self.saved_model and name in CHAIN_SETTINGS and name not in OF_REQUESTS:
                raise ConfigError(
                    f"{show(name, value)} cannot be used with --saved_model: export again"
                )
        if self.shard:
            Shard.parse(self.shard)
