"""Noise-conditional score networks in TensorFlow."""

__version__ = "0.1.0"

__all__ = [
    "NCSN",
    "NCSNv2",
    "conditional",
    "densities",
    "flow",
    "guidance",
    "langevin",
    "likelihood",
    "losses",
    "pytorch",
    "sampling",
    "schedule",
    "sde",
]


def __getattr__(name):
    """Import the public names on first use: `--help` must not wait for TensorFlow."""
    import importlib

    if name in ("NCSN", "NCSNv2"):
        return getattr(importlib.import_module("ncsn_tf.networks"), name)
    if name in __all__:
        return importlib.import_module(f"ncsn_tf.{name}")
    raise AttributeError(f"module 'ncsn_tf' has no attribute {name!r}")
