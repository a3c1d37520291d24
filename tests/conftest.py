"""What the tests share: golden vectors, the smallest run. The conftest above sets TensorFlow up."""

import functools
import signal
from pathlib import Path

import numpy as np
import pytest
from fork_server import ForkServer


@functools.cache
def _load(name):
    with np.load(Path(__file__).parent / "golden" / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


@functools.cache
def _load_network(name):
    from ncsn_tf.models.networks import NCSN, NCSNv2
    from ncsn_tf.models.reference_weights import load_reference_weights

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


@pytest.fixture(autouse=True)
def _ctrl_c_as_before():
    """A command that ends leaves Ctrl-C to the system, as its process would end there."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def graphs_as_written():
    """Graphs run as they are written: to rewrite them takes up to a third of a test's time.

    For tests of what commands do, not of numbers: those are to be of the graphs that users run.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


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


@pytest.fixture(scope="session")
def command_server():
    """Runs commands as processes, TensorFlow imported once for all: see `fork_server`."""
    with ForkServer() as server:
        yield server


TINY = {
    "dataset": "digits",
    "image_size": 8,
    "channels": 1,
    "random_flip": False,
    "features": 2,
    "precision": "float32",  # which auto becomes, so that a run's settings are those it was given
    "num_levels": 3,
    "step_lr": 1e-4,
    "num_steps_each": 2,
    "batch_size": 8,
    "sampling_tile": 2,
}


@pytest.fixture(scope="session")
def tiny_config():
    """The smallest run: 8 x 8 digits, 2 features, 3 noise levels. Settings are changed by name."""
    from ncsn_tf.settings.config import Config

    return lambda **changes: Config(**{**TINY, **changes})
