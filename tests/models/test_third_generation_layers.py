"""The third generation's layers against the reference's numbers, and what they are by formula."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend import compat
from ncsn_tf.models import resampling
from ncsn_tf.models.attention import SelfAttention
from ncsn_tf.models.embeddings import (
    ConditionEmbedding,
    fourier_embedding,
    positional_embedding,
)
from ncsn_tf.models.group_norm import ACTIVATIONS, GroupNorm, group_norm
from ncsn_tf.models.reference_places import Place, unet_places
from ncsn_tf.models.resampling import Resampling, ResamplingConvolution
from ncsn_tf.models.resnet_blocks import Combination, NormedConvolution, ResNetBlock

GAIN = float(np.sqrt(0.5))


@pytest.fixture(scope="module")
def vectors(golden):
    return golden("sde/layers")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_close(values, expected, bound=1e-5):
    expected = np.asarray(expected)
    error = np.abs(np.asarray(values) - expected).max() / np.abs(expected).max()
    assert error < bound


@pytest.mark.parametrize(
    "name, function, fir",
    [
        ("upsample_2d", resampling.upsample, (1, 3, 3, 1)),
        ("downsample_2d", resampling.downsample, (1, 3, 3, 1)),
        ("naive_upsample_2d", resampling.upsample, None),
        ("naive_downsample_2d", resampling.downsample, None),
    ],
)
def test_resampling_is_that_of_the_reference(name, function, fir, vectors):
    assert_close(function(vectors["x"], fir), vectors[name], 2e-6)


@pytest.mark.parametrize(
    "name, function, fir",
    [
        ("fir_conv_up_patched/Conv2d_0", resampling.convolve_up, (1, 3, 3, 1)),
        ("fir_conv_down/Conv2d_0", resampling.convolve_down, (1, 3, 3, 1)),
        ("conv_up_patched/Conv_0", resampling.convolve_up, None),
        ("conv_down/Conv_0", resampling.convolve_down, None),
    ],
)
def test_resampling_convolutions_are_those_of_the_reference(name, function, fir, vectors):
    layer = ResamplingConvolution(16, "up" if function is resampling.convolve_up else "down", fir)
    layer.build((None, 8, 8, 12))
    layer.kernel.assign(vectors[f"{name}.weight"].transpose(2, 3, 1, 0))
    layer.bias.assign(vectors[f"{name}.bias"])
    assert_close(layer(vectors["x"]), vectors[f"out/{name.split('/')[0]}"])
    without = layer(vectors["x"], add_bias=False) + vectors[f"{name}.bias"]
    assert_close(without, vectors[f"out/{name.split('/')[0]}"])


def upfirdn(x, kernel, up, down, padding):
    """Zeros behind every pixel, padding, true convolution, every so many: one axis at a time."""
    for axis in (1, 2):
        moved = np.moveaxis(np.asarray(x, np.float64), axis, -1)
        stuffed = np.zeros((*moved.shape[:-1], moved.shape[-1] * up))
        stuffed[..., ::up] = moved
        padded = np.pad(stuffed, [(0, 0)] * (moved.ndim - 1) + [padding])
        filtered = np.apply_along_axis(np.convolve, -1, padded, kernel, "valid")
        x = np.moveaxis(filtered[..., ::down], -1, axis)
    return x


@pytest.mark.parametrize(
    "taps", [(1, 3, 3, 1), (1, 2, 1), (1, 2, 4, 8), (1, 2, 3, 4, 5, 7), (1, 1)]
)
@pytest.mark.parametrize("shape", [(2, 6, 10, 3), (1, 2, 2, 1)])
def test_filters_of_any_length(taps, shape):
    x = normal(*shape)
    kernel = np.array(taps, float) / sum(taps)
    p = len(taps) - 2
    expected = upfirdn(x, 2 * kernel, 2, 1, ((p + 1) // 2 + 1, p // 2))
    assert_close(resampling.upsample(x, taps), expected, 2e-6)
    assert_close(
        resampling.downsample(x, taps), upfirdn(x, kernel, 1, 2, ((p + 1) // 2, p // 2)), 2e-6
    )


def test_resampling_of_constants():
    ones = tf.ones([1, 8, 8, 2])
    assert_close(resampling.upsample(ones)[:, 1:-1, 1:-1], np.ones([1, 14, 14, 2]), 1e-6)
    assert_close(resampling.downsample(ones)[:, 1:-1, 1:-1], np.ones([1, 2, 2, 2]), 1e-6)


@pytest.mark.parametrize("function", [resampling.upsample, resampling.downsample])
@pytest.mark.parametrize("fir", [(1, 3, 3, 1), (1, 2, 4, 8), None])
def test_gradients_of_resampling(function, fir):
    """<A x, y> = <x, A^T y>, and the second derivatives of a quadratic."""
    x = tf.constant(normal(1, 4, 6, 2))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x, fir)
            loss = 0.5 * tf.reduce_sum(tf.square(y))
        gradient = tape.gradient(loss, x)
        inner = tf.reduce_sum(gradient * x)
    assert_close(inner, tf.reduce_sum(tf.square(y)))
    assert_close(outer.gradient(inner, x), 2 * gradient)


@pytest.mark.parametrize("function", [resampling.upsample, resampling.downsample])
@pytest.mark.parametrize("fir", [(1, 3, 3, 1), None])
def test_resampling_in_bfloat16(function, fir):
    x = normal(1, 4, 4, 2)
    y = function(tf.cast(x, tf.bfloat16), fir)
    assert y.dtype == tf.bfloat16
    assert_close(tf.cast(y, tf.float32), function(x, fir), 0.02)


def load(layer, places, vectors, name):
    """Give a layer the parameters `name/...` of the vectors, at the places of a network."""
    prefix = "all_modules.0."
    values = {}
    for key, place in places.items():
        array = place.ours(vectors[f"{name}/{key.removeprefix(prefix)}"])
        values.setdefault(id(place.variable), (place.variable, []))[1].append(array)
    for variable, parts in values.values():
        variable.assign(np.concatenate(parts, -1).reshape(variable.shape))
    names = {key.split("/")[1] for key in vectors if key.startswith(f"{name}/")}
    assert {key.removeprefix(prefix) for key in places} == names


class OneStep:
    """Looks like a network of one step to `unet_places`."""

    resamp_with_conv = True

    def __init__(self, action, layer, block="biggan", fir=True):
        from ncsn_tf.models.unet_steps import Step

        self.block, self.fir = block, fir
        step = Step(action, 0)
        self.steps = (step,)
        setattr(self, step.name, layer)


BLOCKS = {
    "biggan": (16, {}),
    "biggan_same": (12, {}),
    "biggan_up": (12, {"resample": "up"}),
    "biggan_down": (12, {"resample": "down"}),
    "biggan_naive_up": (12, {"resample": "up", "fir": None}),
    "biggan_naive_down": (12, {"resample": "down", "fir": None}),
    "ddpmpp": (16, {}),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_those_of_the_reference(name, vectors):
    filters, settings = BLOCKS[name]
    gains = []
    for gain in (GAIN, 1.0):
        block = ResNetBlock(filters, embedding=10, gain=gain, **settings)
        block.build((None, 8, 8, 12))
        kind = "ddpm" if name == "ddpmpp" else "biggan"
        load(block, unet_places(OneStep("block", block, kind)), vectors, name)
        gains.append(block(vectors["x"], tf.nn.silu(vectors["temb"])))
    errors = [np.abs(y - vectors[f"out/{name}"]).max() for y in gains]
    assert min(errors) < 1e-5 * np.abs(vectors[f"out/{name}"]).max()
    assert_close(gains[0], GAIN * gains[1])


@pytest.mark.parametrize("name, gain", [("attention", GAIN), ("attention_plain", 1.0)])
def test_attention_is_that_of_the_reference(name, gain, vectors):
    layer = SelfAttention(gain)
    layer.build((None, 8, 8, 12))
    load(layer, unet_places(OneStep("attend", layer)), vectors, name)
    assert_close(layer(vectors["x"]), vectors[f"out/{name}"])


@pytest.mark.parametrize("method", ["sum", "cat"])
def test_combinations_are_those_of_the_reference(method, vectors):
    layer = Combination(12, method)
    layer.build((None, 8, 8, 3))
    load(layer, unet_places(OneStep("take", layer)), vectors, f"combine_{method}")
    assert_close(layer(vectors["pyramid"], vectors["x"]), vectors[f"out/combine_{method}"])


def test_group_norm_is_that_of_the_reference(vectors):
    norm = GroupNorm()
    norm.build((None, 3, 3, 160))
    assert norm.groups == 32
    norm.table.assign([vectors["wide_norm/weight"], vectors["wide_norm/bias"]])
    assert_close(norm(vectors["wide"]), vectors["out/wide_norm"])


def test_embeddings_are_those_of_the_reference(vectors):
    # One unit in the last place of log(7.7) W is 1e-4 in the angle: the logarithms differ by one.
    assert_close(
        fourier_embedding(vectors["sigmas"], vectors["fourier_W"]), vectors["fourier"], 1e-4
    )
    assert_close(positional_embedding(vectors["labels"], 12), vectors["positional_even"])
    assert_close(positional_embedding(vectors["labels"], 13), vectors["positional_odd"])


def naive_group_norm(x, table, groups, shift, activation):
    """As written in a book, by TensorFlow's own operations and gradients."""
    x = x + shift[:, None, None, :]
    grouped = tf.reshape(x, [x.shape[0], -1, groups, x.shape[3] // groups])
    centred = grouped - tf.reduce_mean(grouped, [1, 3], keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), [1, 3], keepdims=True)
    normal = tf.reshape(centred / tf.sqrt(variance + 1e-6), x.shape)
    return ACTIVATIONS[activation].value(normal * table[0] + table[1])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_group_norm_and_its_gradients(activation):
    x, table = tf.constant(normal(2, 3, 5, 6)), tf.constant(normal(2, 6, seed=1))
    shift, weights = tf.constant(normal(2, 6, seed=2)), normal(2, 3, 5, 6, seed=3)

    def derivatives(function):
        """The value, its gradients, and those of a projection of the gradients."""
        with tf.GradientTape() as outer:
            outer.watch([x, table, shift])
            with tf.GradientTape() as tape:
                tape.watch([x, table, shift])
                y = function(x, table, 3, shift, activation)
                loss = tf.reduce_sum(weights * y)
            gradients = tape.gradient(loss, [x, table, shift])
            projected = sum(tf.reduce_sum(tf.cos(g) * g) for g in gradients)
        return [y, *gradients, *outer.gradient(projected, [x, table, shift])]

    expected = derivatives(naive_group_norm)
    for values in (derivatives(group_norm), tf.function(lambda: derivatives(group_norm))()):
        for value, wanted in zip(values, expected, strict=True):
            assert_close(value, wanted, 2e-5)


def test_group_norm_of_a_constant_image():
    """Its variance is 0: no derivative of a root is taken there."""
    table = tf.constant([[1.0] * 4, [0.5] * 4])
    x = tf.zeros([1, 4, 4, 4])
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = group_norm(x, table, 2, activation="swish")
            loss = tf.reduce_sum(y * y)
        gradient = tape.gradient(loss, x)
        projected = tf.reduce_sum(tf.sin(gradient))
    assert np.isfinite(y).all() and np.isfinite(gradient).all()
    assert np.isfinite(outer.gradient(projected, x)).all()


def test_group_norm_of_large_means():
    """The variance is not lost next to the square of the mean."""
    x = normal(1, 16, 16, 8)
    table = tf.constant([[1.0] * 8, [0.0] * 8])
    shifted = group_norm(tf.constant(x + 300), table, 2)
    assert_close(shifted, group_norm(x, table, 2), 5e-4)


def test_group_norm_does_not_round_its_shift():
    norm = GroupNorm(groups=1, dtype="mixed_bfloat16")
    x = tf.cast(normal(1, 4, 4, 2), tf.bfloat16)
    y, z = (norm(x, tf.constant([[0.0, shift]])) for shift in (1.0, 1.001))
    assert y.dtype == tf.bfloat16
    wide = tf.cast(x, tf.float32)
    table, shift = tf.constant([[1.0, 1.0], [0.0, 0.0]]), tf.constant([[0.0, 1.001]])
    np.testing.assert_array_equal(z, tf.cast(group_norm(wide, table, 1, shift), tf.bfloat16))


def test_a_block_without_condition():
    block = ResNetBlock(8, embedding=0)
    assert block(tf.ones([2, 4, 4, 4])).shape == (2, 4, 4, 8)
    assert len(block.weights) == 2 + 2 + 2 + 2


@pytest.mark.parametrize(
    "layer",
    [
        GroupNorm("swish", name="one"),
        SelfAttention(0.5, 2),
        ConditionEmbedding(8, "fourier", dense=False),
        Resampling("down", (1, 2, 1)),
        ResamplingConvolution(4, "up", None, scale=0.5),
        ResNetBlock(8, 4, "down", gain=GAIN, dtype="mixed_bfloat16"),
        NormedConvolution(3),
        Combination(4, "cat"),
    ],
)
def test_serialisation_round_trip(layer):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    assert copy.compute_dtype == layer.compute_dtype


def test_impossible_resampling():
    with pytest.raises(ValueError, match="resample must be one of .*, not 'left'"):
        ResamplingConvolution(4, "left")


def test_a_place_is_a_part_of_a_weight():
    place = Place(tf.Variable(tf.zeros([2, 6])), (2, 2), part=1)
    assert place.reference_shape == (2, 2)
    assert place.ours(np.zeros([3, 2])).shape == (3, 2)


@pytest.mark.skipif(not compat.XLA_ON_CPU, reason="XLA of this TensorFlow takes minutes on a CPU")
def test_group_normalisation_compiled_by_xla_is_the_same():
    x, table, shift = normal(2, 4, 4, 8), normal(2, 8, seed=1), normal(2, 8, seed=2)
    upstream = normal(2, 4, 4, 8, seed=3)

    def with_gradients(x, table, shift):
        with tf.GradientTape() as tape:
            tape.watch((x, table, shift))
            y = group_norm(x, table, groups=2, shift=shift, activation="swish")
        return y, *tape.gradient(y, (x, table, shift), upstream)

    values = [tf.constant(array) for array in (x, table, shift)]
    # Once before and once after, in graphs that could share what was traced for the other.
    expected, compiled, again = (
        tf.function(with_gradients, jit_compile=jit_compile, autograph=False)(*values)
        for jit_compile in (None, True, None)
    )
    for plain, result, last in zip(expected, compiled, again, strict=True):
        assert_close(result, plain)
        np.testing.assert_array_equal(last, plain)
