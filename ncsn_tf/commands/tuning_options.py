"""The flags of evaluate.py that compare checkpoints, or settings of a chain."""

import dataclasses

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.checkpoint import NEWEST
from ncsn_tf.settings.options import option, show
from ncsn_tf.settings.sweep import Sweep

METRICS = ("fid",)
NUM_SAMPLES = 1_000
_WHOLE = ("saved_model", "samples", "reference", "num_seed_ranges", "pairs", "copies", "shard")


@dataclasses.dataclass(frozen=True)
class TuningOptions:
    """What is measured several times. Beside the fields of `QualityOptions`."""

    every_checkpoint: bool = option(
        False, "rank the run's checkpoints, by the first of --metrics", "what"
    )
    sweep: str = option(
        "",
        "find a chain's setting, or guidance: step_lr=1e-6:1e-4:7",
        "what",
    )
    keep_best: bool = option(
        False, "with --every_checkpoint: the best one is the run's best", "what"
    )

    @property
    def is_tuning(self) -> bool:
        """Whether one of the two is asked for."""
        return bool(self.every_checkpoint or self.sweep)

    def validate_tuning(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
        if self.keep_best and not self.every_checkpoint:
            raise ConfigError("--keep_best=true needs --every_checkpoint")
        if not self.is_tuning:
            return
        asked = show("sweep", self.sweep) if self.sweep else "--every_checkpoint"
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in _WHOLE:
            if getattr(self, name) != defaults[name]:
                raise ConfigError(f"{show(name, getattr(self, name))} cannot be used with {asked}")
        if self.every_checkpoint and self.sweep:
            raise ConfigError(f"{asked} goes without --every_checkpoint: in two calls")
        if self.every_checkpoint and self.checkpoint != NEWEST:
            raise ConfigError(f"{show('checkpoint', self.checkpoint)} cannot be used with {asked}")
        if self.metrics and self.names is None:
            raise ConfigError(f"{asked} needs the names of --metrics, of which the first decides")
        if self.sweep:
            name = Sweep.parse(self.sweep).name
            if getattr(self, name) != defaults[name]:
                raise ConfigError(f"{show(name, getattr(self, name))} cannot be used with {asked}")
