"""Noise-conditional score networks in TensorFlow."""

import importlib
import os
import sys

if "keras" not in sys.modules:  # where it is, `backend.compat` looks at what it was given
    os.environ["KERAS_BACKEND"] = "tensorflow"

__version__ = "0.1.0"

# The public names, each with its home: `module`, or `module:name there`. `__init__.pyi` lists them
# for editors; they are imported on first use, for `--help` must not wait for TensorFlow.
_HOMES = {
    "DDPM": "ncsn_tf.models.ddpm:DDPM",
    "NCSN": "ncsn_tf.models.networks:NCSN",
    "NCSNv2": "ncsn_tf.models.networks:NCSNv2",
    "NCSNpp": "ncsn_tf.models.ncsnpp:NCSNpp",
    "densities": "ncsn_tf.toy.densities",
    "evaluate": "ncsn_tf.evaluation.arrays:evaluate",
    "export": "ncsn_tf.serving.export:export_run",
    "from_arrays": "ncsn_tf.data.source:from_arrays",
    "likelihood": "ncsn_tf.likelihood",
    "load_source": "ncsn_tf.data.sources:load_source",
    "losses": "ncsn_tf.losses",
    "metrics": "ncsn_tf.evaluation.metrics",
    "pytorch": "ncsn_tf.pytorch",
    "sample": "ncsn_tf.generation.arrays:sample",
    "sampling": "ncsn_tf.sampling",
    "schedule": "ncsn_tf.schedule",
    "sde": "ncsn_tf.schedule.sde",
    "train": "ncsn_tf.training.arrays:train",
    "training_batches": "ncsn_tf.data.batches:training_batches",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ncsn_tf' has no attribute {name!r}")
    module, _, there = _HOMES[name].partition(":")
    home = importlib.import_module(module)
    return getattr(home, there) if there else home


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
