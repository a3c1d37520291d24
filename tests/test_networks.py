"""The network against the reference's numbers; sizes, checkpoints, precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.flat import FlatWeights
from ncsn_tf.networks import NCSN

GOLDEN = ["ncsn_cifar10_ngf8", "ncsn_mnist_ngf8"]


@pytest.mark.parametrize("name", GOLDEN)
def test_score_is_that_of_the_reference(golden, golden_network, name):
    vectors = golden(name)
    score = golden_network(name)(vectors["x"], vectors["labels"]).numpy()
    assert score.dtype == np.float32
    expected = vectors["score"]
    assert np.abs(score - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "image_shape, features, parameters",
    [((32, 32, 3), 128, 30_117_635), ((28, 28, 1), 64, 7_638_657)],
    ids=["cifar10", "mnist"],
)
def test_number_of_parameters(image_shape, features, parameters):
    network = NCSN(image_shape, features, num_levels=10)
    assert network.count_params() == parameters
    assert len(network.trainable_variables) <= 173
    assert network.non_trainable_variables == []


@pytest.mark.parametrize(
    "image_shape, features, levels, message",
    [
        ((31, 32, 3), 8, 10, "even and at least 4, not 31 x 32"),
        ((32, 30 + 1, 3), 8, 10, "even and at least 4, not 32 x 31"),
        ((2, 32, 3), 8, 10, "even and at least 4, not 2 x 32"),
        ((32, 32, 0), 8, 10, "not 8, 10, 0"),
        ((32, 32, 3), 1, 10, "features must be at least 2.*not 1, 10, 3"),
        ((32, 32, 3), 8, 0, "num_levels and channels at least 1, not 8, 0, 3"),
    ],
)
def test_impossible_sizes(image_shape, features, levels, message):
    with pytest.raises(ValueError, match=message):
        NCSN(image_shape, features, levels)


def weights_of(network):
    flat = FlatWeights(network)
    flat.copy_from(network)
    return flat.vector.numpy()


def test_smallest_sizes():
    network = NCSN((4, 6, 1), features=2, num_levels=1)
    score = network(tf.zeros([3, 4, 6, 1]), tf.zeros([3], tf.int32))
    assert score.shape == (3, 4, 6, 1)
    assert np.isfinite(score).all()


def test_checkpoint_restores_before_the_first_call(golden, golden_network, tmp_path):
    network = golden_network("ncsn_mnist_ngf8")
    path = tf.train.Checkpoint(network=network).write(str(tmp_path / "weights"))
    fresh = NCSN.from_config(network.get_config())
    assert np.any(weights_of(fresh) != weights_of(network))
    status = tf.train.Checkpoint(network=fresh).read(path)
    status.assert_consumed()
    status.assert_existing_objects_matched()
    np.testing.assert_array_equal(weights_of(fresh), weights_of(network))
    vectors = golden("ncsn_mnist_ngf8")
    arguments = vectors["x"], vectors["labels"]
    np.testing.assert_array_equal(fresh(*arguments), network(*arguments))


def test_configuration_round_trip():
    network = NCSN((4, 6, 2), features=3, num_levels=5, name="small", dtype="mixed_bfloat16")
    serialised = keras.saving.serialize_keras_object(network)
    for copy in (
        NCSN.from_config(network.get_config()),
        keras.saving.deserialize_keras_object(serialised),
    ):
        assert type(copy) is NCSN
        assert copy.name == "small"
        assert copy.image_shape == (4, 6, 2)
        assert copy.get_config() == network.get_config()
        shapes = [tuple(variable.shape) for variable in copy.trainable_variables]
        assert shapes == [tuple(variable.shape) for variable in network.trainable_variables]
        assert copy.compute_dtype == "bfloat16"


def test_mixed_precision_answers_in_float32(golden, golden_network):
    vectors = golden("ncsn_mnist_ngf8")
    network = NCSN((28, 28, 1), features=8, num_levels=10, dtype="mixed_bfloat16")
    assert all(tf.as_dtype(weight.dtype) == tf.float32 for weight in network.weights)
    network.set_weights(golden_network("ncsn_mnist_ngf8").get_weights())
    score = network(vectors["x"], vectors["labels"])
    assert score.dtype == tf.float32
    expected = vectors["score"]
    error = np.abs(score - expected).max() / np.abs(expected).max()
    assert 1e-4 < error < 0.05  # the lower bound: it did compute in bfloat16


def test_graph_stays_small(golden_network):
    """Tracing and starting take time in proportion to the nodes."""
    forward = tf.function(golden_network("ncsn_cifar10_ngf8"), autograph=False)
    graph = forward.get_concrete_function(
        tf.TensorSpec([2, 32, 32, 3]), tf.TensorSpec([2], tf.int32)
    ).graph.as_graph_def()
    nodes = len(graph.node) + sum(len(fn.node_def) for fn in graph.library.function)
    assert nodes < 4000
