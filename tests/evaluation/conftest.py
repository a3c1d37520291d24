"""Runs that the tests of evaluation share: networks are built, and graphs traced, once."""

import dataclasses
import functools

import numpy as np
import pytest

from ncsn_tf.training import checkpoints
from ncsn_tf.training.run_network import build_network


@pytest.fixture(scope="session")
def config(tiny_config):
    """Of 16 features where neighbours are compared: enough to tell images apart."""
    return tiny_config(features=8)


@pytest.fixture(scope="session")
def network(config):
    """Of random weights: those of a fresh network's last layers make little of its input."""
    network = build_network(config)
    rng = np.random.default_rng(1)
    network.set_weights([0.3 * rng.normal(size=w.shape) for w in network.get_weights()])
    return network


@pytest.fixture(scope="session")
def tiny_run(config, network, tmp_path_factory):
    """The folder of a run that has done 40 steps."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    checkpoints.save_network(network, dataclasses.replace(config, workdir=str(folder)), step=40)
    return folder


@pytest.fixture(scope="module")
def loads_once():
    """Each checkpoint's network is built once a file of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "load_network", functools.cache(checkpoints.load_network))
        yield
