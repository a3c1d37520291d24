"""`ncsn report`: a run as one HTML page."""

import dataclasses

from ncsn_tf.backend.choices import SPACES
from ncsn_tf.commands.start import start_tensorflow
from ncsn_tf.settings.checkpoint import checkpoint_option
from ncsn_tf.settings.class_flags import ClassOptions
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_inputs, check_run
from ncsn_tf.settings.options import option

SUMMARY = """\
Write a page on a run: settings, loss curves, samples over training, a chain, the training images
nearest to samples, scores. The page is one file, which loads nothing from elsewhere:

  ncsn report                          the newest run
  ncsn report --workdir=runs/cifar10   writes runs/cifar10/report.html
  ncsn report --label=3 --guidance=1.5   with samples of a class, of a run that knows classes
  ncsn report --nochain --noneighbors --noscores   only what the run's folder holds"""


@dataclasses.dataclass(frozen=True)
class ReportOptions(ClassOptions):
    """The flags of `ncsn report`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source", path=True)
    checkpoint: str = checkpoint_option()
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    data_dir: str = option(
        "", "where the data are; empty is the run's --data_dir", "source", path=True
    )
    cache_dir: str = option(
        "", "where decoded images are kept; empty is the run's --cache_dir", "source", path=True
    )
    chain: bool = option(True, "draw a chain and show it as a movie", "contents")
    chain_file: str = option(
        "", "a GIF or WebP to show instead, of ncsn sample --movie", "contents", path=True, reads=()
    )
    neighbors: bool = option(True, "draw samples, find their nearest training images", "contents")
    space: str = option(
        "pixels",
        "what neighbours are near in: pixel values, or features of the network",
        "contents",
        choices=SPACES,
    )
    scores: bool = option(True, "show scores and one denoising step of a test image", "contents")
    out: str = option(
        "", "the page, a .html; empty is report.html in the run's folder", "output", path=True
    )

    def __post_init__(self):
        if not (self.neighbors or (self.chain and not self.chain_file)):
            self.refuse_classes("needs --chain or --neighbors: no samples are drawn otherwise")


def main(argv: list[str]) -> None:
    """Write the page that the flags ask for."""
    options = parse_options(argv, ReportOptions, SUMMARY)
    check_inputs(options)
    needs_data = options.neighbors or options.scores
    check_run(options.workdir, options.data_dir if needs_data else "")
    start_tensorflow()
    from ncsn_tf.evaluation.report.page import write_report

    print(f"Wrote {write_report(**dataclasses.asdict(options))}")
