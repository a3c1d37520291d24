"""`ncsn toy`: why score-based sampling needs noise, in numbers and pictures."""

import dataclasses
import importlib.util
from collections.abc import Sequence

from ncsn_tf.commands.start import start_tensorflow
from ncsn_tf.errors import UserError
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option

SUMMARY = """\
Why score-based sampling needs noise (Song & Ermon 2019, section 3.2), on a mixture of two modes
in the plane. Writes scores.png, langevin.png and annealed_langevin.png, prints their numbers."""


@dataclasses.dataclass(frozen=True)
class ToyOptions:
    """The flags of `ncsn toy`."""

    out: str = option("toy", "folder of the pictures", "output", path=True)
    num_steps: int = option(
        10_000, "training steps of the score network", "experiment", least=1, below=2**62
    )
    num_samples: int = option(
        1280, "chains, and points in a picture", "experiment", least=1, below=10_000_001
    )
    seed: int = option(0, "seed of everything", "experiment", least=0, below=2**31)


def main(argv: Sequence[str]) -> None:
    options = parse_options(argv, ToyOptions, SUMMARY)
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("the pictures need matplotlib: pip install matplotlib")
    start_tensorflow()
    from ncsn_tf.toy.experiment import run_toy

    run_toy(**dataclasses.asdict(options))
