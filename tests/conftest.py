"""What all tests share: a quiet TensorFlow with two logical CPUs, the golden vectors."""

import functools
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import pytest
import tensorflow as tf

# Two devices for distribution strategies; TensorFlow takes this only before its first operation.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@functools.cache
def _load(name):
    with np.load(Path(__file__).parent / "golden" / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


@functools.cache
def _load_network(name):
    from ncsn_tf.networks import NCSN, NCSNv2
    from ncsn_tf.reference_weights import load_reference_weights

    vectors = _load(name)
    kind, (features, num_levels) = vectors["meta"][0], vectors["meta"][1:3].astype(int)
    shape = vectors["x"].shape[1:]
    if kind.startswith("NCSNv2"):
        depth = kind.removeprefix("NCSNv2").lower() or "base"
        network = NCSNv2(shape, int(features), vectors["sigmas"], depth)
    else:
        network = NCSN(shape, int(features), int(num_levels))
    load_reference_weights(network, _with_prefix(vectors, "param/"))
    return network


def _with_prefix(vectors, prefix):
    return {key[len(prefix) :]: value for key, value in vectors.items() if key.startswith(prefix)}


@pytest.fixture(scope="session")
def golden():
    """name -> {key: array} of tests/golden/NAME.npz."""
    return lambda name: dict(_load(name))


@pytest.fixture(scope="session")
def golden_params():
    """name, prefix -> {reference parameter name: array} of a golden file."""
    return lambda name, prefix="param/": _with_prefix(_load(name), prefix)


@pytest.fixture(scope="session")
def golden_network():
    """name -> the network with the weights of a golden file; shared, not to be changed."""
    return _load_network
