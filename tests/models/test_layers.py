"""The layers: initialisation, dilated convolution, precision, serialisation."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend import compat
from ncsn_tf.models import functional, instance_norm, layers
from ncsn_tf.models.instance_norm_layers import (
    ConditionalInstanceNormPlus,
    InstanceNormPlus,
    NormTableInitializer,
)
from ncsn_tf.models.layers import Convolution


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def weight_names(layer):
    return [weight.name.split("/")[-1].split(":")[0] for weight in layer.weights]


def naive_convolution(x, kernel, dilation):
    """Sum over the kernel's taps of the shifted image, zero outside."""
    size = kernel.shape[0]
    border = dilation * (size // 2)
    padded = np.pad(x, [(0, 0), (border, border), (border, border), (0, 0)])
    height, width = x.shape[1:3]
    y = 0.0
    for i, j in np.ndindex(size, size):
        top, left = i * dilation, j * dilation
        y = y + padded[:, top : top + height, left : left + width] @ kernel[i, j]
    return y


@pytest.mark.parametrize("size, dilation", [(3, 1), (3, 2), (3, 4), (1, 1)])
@pytest.mark.parametrize("height, width", [(6, 9), (4, 4), (2, 2)])
@pytest.mark.parametrize("dilated_gradients", [True, False], ids=["one", "of parts"])
def test_convolution_is_the_naive_sum(
    size, dilation, height, width, dilated_gradients, monkeypatch
):
    monkeypatch.setattr(layers, "has_dilated_gradients", lambda: dilated_gradients)
    layer = Convolution(5, size=size, dilation=dilation)
    x = normal(2, height, width, 3)
    y = layer(x).numpy()
    kernel, bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    assert y.shape == (2, height, width, 5)
    np.testing.assert_allclose(y, naive_convolution(x, kernel, dilation) + bias, atol=2e-6)


def test_convolution_that_pools():
    plain, pooling = Convolution(5), Convolution(5, pool=True)
    x = normal(2, 6, 8, 3)
    plain(x), pooling(x)
    assert [weight.shape for weight in pooling.weights] == [
        weight.shape for weight in plain.weights
    ]
    pooling.set_weights(plain.get_weights())
    np.testing.assert_allclose(pooling(x), functional.mean_pool(plain(x)), atol=1e-6)


@pytest.mark.parametrize("options", [{"size": 1}, {"dilation": 2}])
def test_pooling_is_for_plain_3x3_convolutions(options):
    with pytest.raises(ValueError, match="pool needs a 3 x 3 kernel without dilation"):
        Convolution(5, pool=True, **options)


@pytest.mark.parametrize("dilated_gradients", [True, False], ids=["one", "of parts"])
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_convolution_gradients(dilation, dilated_gradients, monkeypatch):
    """The value is linear in x and in the kernel: a gradient is a difference of two values."""
    if dilated_gradients and not compat.has_dilated_gradients():
        pytest.skip("TensorFlow has no gradients of dilated convolutions here")
    monkeypatch.setattr(layers, "has_dilated_gradients", lambda: dilated_gradients)
    layer = Convolution(2, dilation=dilation)
    x, direction, weights = tf.constant(normal(2, 4, 6, 3)), normal(4, 6, 3), normal(2, 4, 6, 2)
    layer(x)
    kernel = layer.get_weights()[0]
    kernel_direction = normal(*kernel.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(weights * layer(x))
    d_x, d_kernel, d_bias = tape.gradient(value, [x, *layer.trainable_variables])
    for gradient, step, change in [
        (d_x, direction[None], naive_convolution(direction[None].repeat(2, 0), kernel, dilation)),
        (d_kernel, kernel_direction, naive_convolution(x, kernel_direction, dilation)),
        (d_bias, np.ones(2), np.ones(2)),
    ]:
        np.testing.assert_allclose(np.sum(gradient * step), np.sum(weights * change), atol=1e-4)


def test_dilated_convolutions_have_gradients_without_onednn():
    """As on a Mac: TensorFlow's own operations for CPUs do not know them."""
    script = """
import tensorflow as tf
from ncsn_tf.backend import compat
from ncsn_tf.models.layers import Convolution

assert not compat.has_dilated_gradients()
layer, x = Convolution(2, dilation=2), tf.ones([1, 5, 6, 3])
with tf.GradientTape() as tape:
    tape.watch(x)
    y = layer(x)
gradients = tape.gradient(y, [x, *layer.trainable_variables])
assert all(tf.norm(each) > 0 for each in gradients)
"""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_convolution_weights():
    layer = Convolution(4)
    layer.build((None, 8, 8, 2))
    assert weight_names(layer) == ["kernel", "bias"]
    assert [tuple(weight.shape) for weight in layer.weights] == [(3, 3, 2, 4), (4,)]
    layer = Convolution(4, use_bias=False)
    layer.build((None, 8, 8, 2))
    assert weight_names(layer) == ["kernel"]
    assert layer.bias is None


@pytest.mark.parametrize("size, inputs", [(3, 16), (1, 64)])
def test_convolution_starts_from_pytorchs_uniform_law(size, inputs):
    layer = Convolution(2048, size=size)
    layer.build((None, 8, 8, inputs))
    bound = 1 / np.sqrt(size**2 * inputs)
    for values in layer.get_weights():
        assert np.abs(values).max() <= bound * (1 + 1e-6)  # bound in single precision
        assert values.max() > 0.99 * bound
        assert values.min() < -0.99 * bound
        assert abs(values.mean()) < 0.1 * bound
        np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.05)


def test_norm_is_the_function_of_its_table():
    layer = ConditionalInstanceNormPlus(7)
    x, levels = normal(3, 4, 5, 6), tf.constant([6, 0, 6])
    y = layer(x, levels)
    assert weight_names(layer) == ["table"]
    expected = instance_norm.instance_norm_plus(tf.constant(x), layer.get_weights()[0], levels)
    np.testing.assert_array_equal(y, expected)


def test_unconditional_norm_does_not_look_at_the_levels():
    layer = InstanceNormPlus()
    x = normal(3, 4, 5, 6)
    y = layer(x, tf.constant([7, 0, 2]))
    (table,) = layer.get_weights()
    assert table.shape == (1, 18)
    assert np.abs(table[0, 12:]).max() == 0 and abs(table[0, :12].mean() - 1) < 0.05
    layer.set_weights([np.random.default_rng(1).normal(size=(1, 18)).astype(np.float32)])
    assert np.any(layer(x, tf.constant([7, 0, 2])) != y)
    repeated = tf.constant(np.repeat(layer.get_weights()[0], 8, axis=0))
    expected = instance_norm.instance_norm_plus(x, repeated, tf.constant([7, 0, 2]))
    np.testing.assert_array_equal(layer(x, tf.constant([7, 0, 2])), expected)


def test_norm_table_starts_near_the_plain_normalisation():
    layer = ConditionalInstanceNormPlus(100)
    layer.build((None, 8, 8, 64))
    gamma, alpha, beta = np.split(layer.get_weights()[0], 3, axis=1)
    for values in (gamma, alpha):
        assert abs(values.mean() - 1.0) < 5 * 0.02 / np.sqrt(6400)
        assert abs(values.std() - 0.02) < 5 * 0.02 / np.sqrt(2 * 6400)
    assert abs(np.corrcoef(gamma.ravel(), alpha.ravel())[0, 1]) < 5 / np.sqrt(6400)
    np.testing.assert_array_equal(beta, 0.0)


def test_mixed_precision_convolution():
    layer = Convolution(4, dtype="mixed_bfloat16")
    x = normal(2, 6, 6, 3)
    y = layer(x)
    assert y.dtype == tf.bfloat16
    assert [tf.as_dtype(weight.dtype) for weight in layer.weights] == [tf.float32] * 2
    kernel, bias = layer.get_weights()
    expected = naive_convolution(x, kernel, 1) + bias
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=0.03 * expected.max())


def test_mixed_precision_kernel_is_pooled_in_float32():
    layer = Convolution(4, pool=True, use_bias=False, dtype="mixed_bfloat16")
    x = tf.cast(normal(2, 6, 6, 3), tf.bfloat16)
    y = layer(x)
    assert y.dtype == tf.bfloat16
    (kernel,) = layer.get_weights()
    pooled = tf.cast(functional.pooled_kernel(tf.constant(kernel)), tf.bfloat16)
    np.testing.assert_array_equal(y, tf.nn.conv2d(x, pooled, 2, "SAME"))
    rounded = functional.pooled_kernel(tf.cast(kernel, tf.bfloat16))
    assert np.any(y != tf.nn.conv2d(x, rounded, 2, "SAME"))


def test_mixed_precision_norm_uses_its_table_in_float32():
    layer = ConditionalInstanceNormPlus(2, dtype="mixed_bfloat16")
    x, levels = tf.cast(normal(2, 4, 5, 6), tf.bfloat16), tf.constant([1, 0])
    y = layer(x, levels)
    table = tf.constant(layer.get_weights()[0])
    assert table.dtype == tf.float32
    assert y.dtype == tf.bfloat16
    np.testing.assert_array_equal(y, instance_norm.instance_norm_plus(x, table, levels))
    rounded = tf.cast(tf.cast(table, tf.bfloat16), tf.float32)
    assert np.any(y != instance_norm.instance_norm_plus(x, rounded, levels))


@pytest.mark.parametrize(
    "layer",
    [
        Convolution(4, size=1, dilation=2, use_bias=False, name="one"),
        Convolution(4, dtype="mixed_bfloat16"),
        Convolution(4, pool=True, name="four"),
        ConditionalInstanceNormPlus(5, name="two"),
        InstanceNormPlus(name="three"),
        NormTableInitializer(),
    ],
    ids=["convolution", "mixed precision", "pooling", "norm", "unconditional norm", "initializer"],
)
def test_serialisation_round_trip(layer):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    for attribute in (
        "filters",
        "size",
        "dilation",
        "use_bias",
        "pool",
        "num_levels",
        "compute_dtype",
    ):
        assert getattr(copy, attribute, None) == getattr(layer, attribute, None)


def test_a_kernel_and_its_bias_start_from_different_numbers():
    layer = Convolution(4, size=1)
    layer.build((None, 4, 4, 1))
    kernel, bias = layer.get_weights()
    assert np.all(kernel.ravel() != bias) and np.all(np.abs(bias) <= 1)
    scaled = Convolution(4, size=1, scale=1.0)
    scaled.build((None, 4, 4, 1))
    np.testing.assert_array_equal(scaled.get_weights()[1], 0.0)
