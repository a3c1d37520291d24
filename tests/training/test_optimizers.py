"""Adam and the flat weights against formulas; six training steps against the reference's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import losses
from ncsn_tf.backend.compat import KERAS_3, raw_variables
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.errors import ConfigError
from ncsn_tf.models.layers import Convolution
from ncsn_tf.models.networks import NCSN
from ncsn_tf.pytorch import load_reference_weights
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.settings.config import Config
from ncsn_tf.training.optimizers import Adam, make_optimizer
from ncsn_tf.training.state import FlatWeights


def small_network():
    layer = Convolution(3)
    layer.build((None, 4, 4, 2))
    return layer


def weights_of(network):
    flat = FlatWeights(network)
    flat.copy_from(network)
    return flat.vector.numpy()


# --- Adam ---


def adam_formula(start, gradients, learning_rate, beta_1, beta_2, epsilon):
    """The updates that torch.optim.Adam documents, in double precision."""
    theta, m, v = start.astype(np.float64), 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        m_hat = m / (1 - beta_1**t)
        v_hat = v / (1 - beta_2**t)
        theta = theta - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)
        yield theta


@pytest.mark.parametrize("beta_1, beta_2, epsilon", [(0.9, 0.999, 1e-8), (0.5, 0.99, 1e-3)])
def test_adam_is_pytorchs(beta_1, beta_2, epsilon):
    """Gradients near epsilon show where it is added: Keras' own Adam moves them much less."""
    scales = np.array([0.0, 0.01, 0.1, 1.0, 10.0, 1e4]) * epsilon
    gradients = np.random.default_rng(0).normal(1.0, 0.3, size=(30, len(scales))) * scales
    start = np.zeros(len(scales))
    variable = tf.Variable(tf.cast(start, tf.float32))
    optimizer = Adam(1e-2, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)
    expected = adam_formula(start, gradients, 1e-2, beta_1, beta_2, epsilon)
    for gradient, theta in zip(gradients, expected, strict=True):
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        # The float32 of 1 - beta_2 leaves relative 3e-5.
        np.testing.assert_allclose(variable, theta, rtol=5e-5)


def test_adam_round_trip():
    optimizer = Adam(1e-2, beta_1=0.8, beta_2=0.99, epsilon=1e-4)
    optimizer.build([tf.Variable([1.0])])
    serialised = keras.saving.serialize_keras_object(optimizer)
    for copy in (
        Adam.from_config(optimizer.get_config()),
        keras.saving.deserialize_keras_object(serialised),
    ):
        assert type(copy) is Adam
        assert copy.get_config() == optimizer.get_config()
        assert copy.get_config()["epsilon"] == 1e-4


# --- flat weights ---


def test_flat_weights_round_trip():
    network, other = small_network(), small_network()
    expected = np.concatenate([values.ravel() for values in network.get_weights()])
    flat = FlatWeights(network)
    np.testing.assert_array_equal(flat.vector, np.zeros(3 * 3 * 2 * 3 + 3))
    flat.copy_from(network)
    np.testing.assert_array_equal(flat.vector, expected)
    np.testing.assert_array_equal(flat.flatten(raw_variables(network)), expected)
    flat.copy_to(other)
    for ours, theirs in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_flat_weights_move_towards_others():
    network = small_network()
    average, weights = FlatWeights(network), FlatWeights(network)
    weights.copy_from(network)
    average.vector.assign(tf.ones_like(average.vector))
    average.move_towards(weights, 0.25)
    np.testing.assert_allclose(average.vector, 0.75 + 0.25 * weights.vector.numpy(), rtol=1e-6)


def test_flat_weights_reach_every_replica():
    strategy = mirrored_strategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        network = small_network()
        flat = FlatWeights(network)
        values = tf.range(flat.vector.shape[0], dtype=tf.float32)
        flat.vector.assign(values)
        flat.copy_to(network)
    for variable, start in zip(raw_variables(network), (0, 54), strict=True):
        copies = strategy.experimental_local_results(variable)
        assert len(copies) == 2
        for copy in copies:
            expected = np.arange(start, start + copy.shape.num_elements())
            np.testing.assert_array_equal(tf.reshape(copy, [-1]), expected)


# --- six steps of the reference ---


def test_training_trajectory_of_the_reference(golden, golden_params):
    name = "ncsn_training_ngf4"
    vectors = golden(name)
    network, final = (NCSN((32, 32, 3), features=4, num_levels=10) for _ in range(2))
    load_reference_weights(network, golden_params(name))
    load_reference_weights(final, golden_params(name, "final/"))
    sigmas = geometric_sigmas(1.0, 0.01, 10)
    weights = FlatWeights(network)
    weights.copy_from(network)
    start = weights.vector.numpy()
    optimizer = Adam(float(vectors["lr"]), epsilon=1e-8)

    measured = []
    for images, levels, noise in zip(
        vectors["images"], vectors["labels"], vectors["noise"], strict=True
    ):
        with tf.GradientTape() as tape:
            per_example = losses.denoising_score_matching(network, images, levels, noise, sigmas)
            loss = tf.reduce_mean(per_example)
        gradient = weights.flatten(tape.gradient(loss, raw_variables(network)))
        optimizer.apply_gradients([(gradient, weights.weight)])
        weights.copy_to(network)
        measured.append(float(loss))
    # Measured: 9e-7.
    np.testing.assert_allclose(measured, vectors["losses"], rtol=1e-5)

    expected = weights_of(final)
    error = np.abs(weights.vector.numpy() - expected)
    moved = np.abs(expected - start)
    # Rows of noise levels that were never drawn have no gradient and must not move.
    assert np.mean(moved == 0) > 0.01
    assert error[moved == 0].max() == 0
    # Half of the weights moved by more than 2.7e-3. Adam divides by the gradient's size: where the
    # gradient is all rounding, the error is larger. Measured: 1.4e-7 at 99 %, 2.3e-6 at most.
    assert np.quantile(error, 0.99) < 1e-6
    assert error.max() < 3e-5


@pytest.mark.parametrize(
    "name, is_elementwise", [("AdamW", True), ("SGD", True), ("Adafactor", False)]
)
def test_optimizers_of_keras_by_name(name, is_elementwise):
    config = Config(optimizer=name, learning_rate=0.25, adam_beta_1=0.5)
    optimizer, elementwise = make_optimizer(config)
    assert type(optimizer) is getattr(keras.optimizers, name)
    assert elementwise is is_elementwise
    settings = optimizer.get_config()
    assert float(settings["learning_rate"]) == 0.25
    assert settings.get("beta_1", 0.5) == 0.5


def test_adam_is_ours_with_the_settings_of_the_run():
    optimizer, elementwise = make_optimizer(Config(adam_epsilon=1e-6, adam_beta_2=0.99))
    assert type(optimizer) is Adam and elementwise
    settings = optimizer.get_config()
    assert (settings["epsilon"], settings["beta_2"]) == (1e-6, 0.99)


def test_an_unknown_optimizer_is_named_with_a_hint():
    with pytest.raises(ConfigError, match="--optimizer=Adamm is not an optimizer; did you mean"):
        make_optimizer(Config(optimizer="Adamm"))


@pytest.mark.skipif(not KERAS_3, reason="the other package set has TensorFlow Addons")
def test_addons_are_answered_with_the_file_to_install():
    with pytest.raises(ConfigError, match="Addons>LAMB needs .* requirements-addons.txt"):
        make_optimizer(Config(optimizer="Addons>LAMB"))
