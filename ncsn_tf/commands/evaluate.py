"""`ncsn evaluate`: bits per dimension and test loss of a trained network."""

import dataclasses

from ncsn_tf.backend.choices import DIVERGENCES
from ncsn_tf.commands.start import start_for_sampling
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option, show

SUMMARY = """\
Measure a trained network on images of its data set:

  ncsn evaluate --bits_per_dim    likelihood along the probability-flow ODE, in bits/dim
  ncsn evaluate --test_loss       the loss that it was trained with

The same --bits_per_dim command again continues where it was interrupted."""


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """The flags of evaluate.py."""

    bits_per_dim: bool = option(False, "likelihood, an upper bound on bits/dim", "what")
    test_loss: bool = option(False, "mean loss, as training reports it", "what")
    workdir: str = option("", "the run; empty is the newest in runs/", "source", path=True)
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    split: str = option("test", "of the run's data set", "data", choices=("test", "train"))
    num_images: int = option(
        0, "the first of a fixed shuffled order; 0 is all of them", "data", least=0, below=2**31
    )
    data_dir: str = option("", "where the data are; empty is the run's", "data", path=True)
    cache_dir: str = option(
        "", "where decoded images are kept; empty is the run's --cache_dir", "data", path=True
    )
    batch_size: int = option(
        64, "images between two savings; changes no result", "likelihood", least=1, below=2**20
    )
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
    ode_tolerance: float = option(
        1e-4, "relative and absolute tolerance of the ODE", "likelihood", above=0
    )
    seed: int = option(0, "image i has seed + i: probes, dequantisation", "likelihood", least=0)
    out: str = option(
        "",
        "file; empty is <workdir>/evaluation/bits_per_dim.json, beside it .npz",
        "likelihood",
        path=True,
    )

    def validate(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
        if not (self.bits_per_dim or self.test_loss):
            raise ConfigError("say what to measure: --bits_per_dim, --test_loss or both")
        if self.divergence == "exact" and self.num_probes > 1:
            raise ConfigError(
                f"{show('num_probes', self.num_probes)} must be 1: --divergence=exact has no probes"
            )
        if self.seed >= 2**62:
            raise ConfigError(f"{show('seed', self.seed)} must be below 2**62")
        if self.out and not self.out.endswith(".json"):
            raise ConfigError(f"{show('out', self.out)} must end in .json")


def main(argv: list[str]) -> None:
    """Measure what the flags ask for."""
    options = parse_options(argv, EvaluateOptions, SUMMARY)
    options.validate()
    start_for_sampling(options.batch_size)
    from ncsn_tf.evaluation.measure import evaluate_run

    evaluate_run(**dataclasses.asdict(options))
