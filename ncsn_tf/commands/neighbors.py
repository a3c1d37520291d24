"""`ncsn neighbors`: the training images nearest to samples."""

import dataclasses
from pathlib import Path

from ncsn_tf.backend.choices import SPACES
from ncsn_tf.commands.start import start_tensorflow
from ncsn_tf.data.images import PICTURES
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import require_ending, user_path
from ncsn_tf.settings.checkpoint import checkpoint_option
from ncsn_tf.settings.class_flags import ClassOptions
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_inputs, check_run
from ncsn_tf.settings.options import option, show

SUMMARY = """\
Find the training images nearest to samples, to see whether a network repeats its training data:

  ncsn neighbors                              samples of the newest run
  ncsn neighbors --samples=samples.npz        those that ncsn sample --format=npz wrote
  ncsn neighbors --label=3 --guidance=1.5     samples of a class, of a run that knows classes
  ncsn neighbors --space=features             nearest in the network's own features

Writes a grid (each row: a sample, then its neighbours, the nearest first), and beside it an .npz of
samples, distances, indices (places in the training split) and mirrored."""


@dataclasses.dataclass(frozen=True)
class NeighborOptions(ClassOptions):
    """The flags of `ncsn neighbors`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source", path=True)
    checkpoint: str = checkpoint_option()
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    samples: str = option(
        "", "an .npz of ncsn sample; empty draws samples now", "source", path=True, reads=()
    )
    data_dir: str = option(
        "", "where the data are; empty is the run's --data_dir", "source", path=True
    )
    cache_dir: str = option(
        "", "where decoded images are kept; empty is the run's --cache_dir", "source", path=True
    )
    num_samples: int = option(
        10, "samples to look at, the first ones of a file", "search", least=1, below=10_000_001
    )
    seed: int = option(
        0, "seed of the first drawn sample; sample i has seed + i", "search", least=0, below=2**62
    )
    num_neighbors: int = option(8, "neighbours of each sample", "search", least=1, below=2**16)
    space: str = option(
        "pixels",
        "what is compared: pixel values, or features of the network",
        "search",
        choices=SPACES,
    )
    out: str = option(
        "neighbors.png",
        "the picture, .png or .jpg; the .npz has the same name",
        "output",
        path=True,
    )

    def __post_init__(self):
        if self.samples:
            self.refuse_classes("cannot be used with --samples: they are drawn already")
        out = Path(self.out)
        require_ending(show("out", self.out), PICTURES)
        if self.samples and _same(self.samples, out.with_suffix(".npz")):
            raise ConfigError(f"{show('out', self.out)} would replace {self.samples}")


def main(argv: list[str]) -> None:
    """Find the neighbours that the flags ask for."""
    options = parse_options(argv, NeighborOptions, SUMMARY)
    check_inputs(options)
    check_run(options.workdir, options.data_dir)
    start_tensorflow()
    from ncsn_tf.evaluation.neighbors import find_neighbors

    find_neighbors(**dataclasses.asdict(options))


def _same(first, second):
    return user_path(first).resolve() == user_path(second).resolve()
