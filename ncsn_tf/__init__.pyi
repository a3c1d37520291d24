"""The public names, for editors and type checkers; `__init__.py` imports them on first use."""

from ncsn_tf import likelihood, losses, pytorch, sampling, schedule
from ncsn_tf.data.batches import training_batches
from ncsn_tf.data.source import from_arrays
from ncsn_tf.data.sources import load_source
from ncsn_tf.evaluation import metrics
from ncsn_tf.evaluation.arrays import evaluate
from ncsn_tf.generation.arrays import sample
from ncsn_tf.models.ddpm import DDPM
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.schedule import sde
from ncsn_tf.serving.export import export_run as export
from ncsn_tf.toy import densities
from ncsn_tf.training.arrays import train

__version__: str
__all__ = [
    "DDPM",
    "NCSN",
    "NCSNv2",
    "NCSNpp",
    "densities",
    "evaluate",
    "export",
    "from_arrays",
    "likelihood",
    "load_source",
    "losses",
    "metrics",
    "pytorch",
    "sample",
    "sampling",
    "schedule",
    "sde",
    "train",
    "training_batches",
]
