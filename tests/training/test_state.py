"""The variables of a run: made from its seed, and the average of its weights."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.training import state as state_module
from ncsn_tf.training.run_network import build_network
from ncsn_tf.training.state import TrainingState


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(ema_decay=0.5, seed=7)


def test_the_network_is_that_of_the_settings(config):
    assert type(build_network(config)) is NCSN
    settings = {"model": "ncsnv2", "sigma_begin": 5.0, "precision": "mixed_bfloat16"}
    network = build_network(dataclasses.replace(config, depth="deeper", **settings))
    assert type(network) is NCSNv2
    assert (network.depth, network.features, network.image_shape) == ("deeper", 2, (8, 8, 1))
    np.testing.assert_array_equal(network.sigmas, geometric_sigmas(5.0, 0.01, 3))
    assert network.compute_dtype == "bfloat16"


def flat(network):
    return np.concatenate([np.ravel(weight) for weight in network.trainable_variables])


@pytest.fixture(scope="module")
def strategy():
    return mirrored_strategy(["CPU:0"])


@pytest.fixture(scope="module")
def state(config, strategy):
    return TrainingState(config, strategy)


def test_a_state_begins_at_step_0_with_its_average_at_its_weights(state):
    for counter in (state.step, state.bad_steps, state.worst_bad_steps, state.skipped_steps):
        assert counter.dtype == tf.int64
        assert counter.numpy() == 0
    weights = flat(state.network)
    np.testing.assert_array_equal(state.weights.vector, weights)
    np.testing.assert_array_equal(state.average.vector, weights)
    np.testing.assert_array_equal(flat(state.evaluation_network), weights)


def test_weights_are_a_function_of_the_seed(config, state):
    two = mirrored_strategy(["CPU:0", "CPU:1"])
    without = dataclasses.replace(config, ema_decay=0.0)
    same = TrainingState(without, two)
    np.testing.assert_array_equal(flat(same.network), flat(state.network))
    for copy in two.experimental_local_results(same.weights.vector):
        np.testing.assert_array_equal(copy, flat(state.network))

    other = TrainingState(dataclasses.replace(without, seed=8), two)
    kernel, same_kernel = other.network.begin_conv.kernel, same.network.begin_conv.kernel
    assert not np.any(kernel.numpy() == same_kernel.numpy())


def test_without_an_average_the_network_itself_is_evaluated(config, strategy):
    state = TrainingState(dataclasses.replace(config, ema_decay=0.0), strategy)
    assert state.average is None
    assert state.evaluation_network is state.network
    state.refresh_average()
    state.flatten()


def test_the_evaluation_network_follows_the_average_when_asked(state):
    before = flat(state.evaluation_network)
    state.average.vector.assign(before + 1)
    np.testing.assert_array_equal(flat(state.evaluation_network), before)
    state.refresh_average()
    np.testing.assert_array_equal(flat(state.evaluation_network), before + 1)
    np.testing.assert_array_equal(flat(state.network), before)


def test_restored_networks_are_flattened(state):
    for network in (state.network, state.evaluation_network):
        for weight in network.trainable_variables:
            weight.assign(weight + 3)
    state.flatten()
    np.testing.assert_array_equal(state.weights.vector, flat(state.network))
    np.testing.assert_array_equal(state.average.vector, flat(state.evaluation_network))


def test_what_is_not_trained_is_the_evaluation_networks_too(config, strategy, monkeypatch):
    """Both networks draw Fourier frequencies of their own; those of the trained one count."""

    def build(config, recompute=False):
        return NCSNpp((8, 8, 1), 4, (1,), 1, (), recompute=recompute)

    monkeypatch.setattr(state_module, "build_network", build)
    state = TrainingState(config, strategy)
    networks = state.network, state.evaluation_network
    assert networks[0] is not networks[1]
    own, copy = (np.asarray(network.embed0.frequencies) for network in networks)
    np.testing.assert_array_equal(copy, own)
    assert np.any(build(config).embed0.frequencies != own)
