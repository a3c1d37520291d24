"""The flags of `ncsn evaluate`."""

import dataclasses

from ncsn_tf.backend.choices import DIVERGENCES
from ncsn_tf.commands.quality_options import QualityOptions
from ncsn_tf.commands.tuning_options import TuningOptions
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.averages import check_ema, lengths_of
from ncsn_tf.settings.chain import ChainOptions
from ncsn_tf.settings.checkpoint import NEWEST, checkpoint_option
from ncsn_tf.settings.options import option, show
from ncsn_tf.settings.pretrained import check_pretrained, pretrained_option


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(ChainOptions, QualityOptions, TuningOptions):
    """The flags of evaluate.py."""

    bits_per_dim: bool = option(False, "likelihood, an upper bound on bits/dim", "what")
    test_loss: bool = option(False, "mean loss, as training reports it", "what")
    workdir: str = option("", "the run; empty is the newest in runs/", "source", path=True)
    pretrained: str = pretrained_option()
    checkpoint: str = checkpoint_option()
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    ema: str = option(
        "", "averages of these lengths, as 0.05,0.1, of a run with --ema_power", "source"
    )
    split: str | None = option(
        None,
        "of the run's data set [test; of --metrics train]",
        "data",
        choices=("test", "train"),
    )
    num_images: int = option(
        0, "the first of a fixed shuffled order; 0 is all of them", "data", least=0, below=2**31
    )
    data_dir: str = option("", "where the data are; empty is the run's", "data", path=True)
    cache_dir: str = option(
        "", "where decoded images are kept; empty is the run's --cache_dir", "data", path=True
    )
    batch_size: int = option(64, "images at a time; changes no result", "run", least=1, below=2**20)
    seed: int = option(0, "image i has seed + i", "run", least=0)
    divergence: str = option(
        "rademacher",
        "probes of Hutchinson's estimator, or exact: tiny images",
        "likelihood",
        choices=DIVERGENCES,
    )
    num_probes: int = option(1, "probes an image", "likelihood", least=1, below=2**16)
    num_dequantizations: int = option(
        1, "times each image is dequantised and measured", "likelihood", least=1, below=2**16
    )
    ode_tolerance: float | None = option(
        None,
        "relative and absolute tolerance of the ODE [1e-4; of --metrics the run's]",
        "likelihood",
        above=0,
    )
    out: str = option(
        "",
        "file; empty is <workdir>/evaluation/bits_per_dim.json, beside it .npz",
        "likelihood",
        path=True,
    )

    @property
    def lengths(self) -> tuple[float, ...]:
        """The lengths of --ema."""
        return lengths_of("ema", self.ema)

    @property
    def is_quality(self) -> bool:
        """Whether samples are measured."""
        return bool(self.metrics or self.is_tuning)

    @property
    def reads_run(self) -> bool:
        """Whether --workdir is a run that is read, and not only a folder for figures."""
        if self.samples:
            return not self.reference
        return self.saved_model in ("", NEWEST)

    def validate(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
        self._validate_pretrained()
        self.validate_tuning()
        if not (self.bits_per_dim or self.test_loss or self.is_quality):
            raise ConfigError("say what to measure: --metrics, --bits_per_dim or --test_loss")
        if self.is_quality and (self.bits_per_dim or self.test_loss):
            what = "--metrics" if self.metrics else "--sweep or --every_checkpoint"
            raise ConfigError(f"{what} goes without --bits_per_dim and --test_loss: in two calls")
        if self.divergence == "exact" and self.num_probes > 1:
            raise ConfigError(
                f"{show('num_probes', self.num_probes)} must be 1: --divergence=exact has no probes"
            )
        if self.seed >= 2**62:
            raise ConfigError(f"{show('seed', self.seed)} must be below 2**62")
        if self.out and not self.out.endswith(".json"):
            raise ConfigError(f"{show('out', self.out)} must end in .json")
        self.validate_quality()
        for name in ("samples", "saved_model"):
            if getattr(self, name) and self.checkpoint != NEWEST:
                raise ConfigError(
                    f"{show('checkpoint', self.checkpoint)} cannot be used with --{name}"
                )
        self._validate_ema()
        if not self.is_quality:
            return
        for field in dataclasses.fields(EvaluateOptions):
            value = getattr(self, field.name)
            is_likelihood = field.metadata["group"] == "likelihood"
            if is_likelihood and field.name != "ode_tolerance" and value != field.default:
                raise ConfigError(f"{show(field.name, value)} needs --bits_per_dim")

    def _validate_ema(self):
        for ema in self.lengths:
            check_ema(ema, self.average)
            for name in ("samples", "saved_model", "sweep", "every_checkpoint"):
                if getattr(self, name):
                    other = show(name, getattr(self, name))
                    raise ConfigError(f"{show('ema', self.ema)} cannot be used with {other}")
        if len(self.lengths) > 1 and self.bits_per_dim:
            raise ConfigError(
                f"{show('ema', self.ema)} must be one length with --bits_per_dim, whose file is of "
                "one network"
            )

    def _validate_pretrained(self):
        check_pretrained(self.pretrained, self.workdir, self.checkpoint, NEWEST, self.average)
        for name in ("samples", "saved_model", "every_checkpoint", "keep_best"):
            if self.pretrained and getattr(self, name):
                raise ConfigError(
                    f"{show('pretrained', self.pretrained)} cannot be used with --{name}"
                )
