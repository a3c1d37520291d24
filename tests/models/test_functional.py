"""The operations against plain formulas: values, gradients, second derivatives."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.models import functional, instance_norm


def assert_near(actual, expected, tolerance):
    """Within `tolerance` of the largest magnitude."""
    actual, expected = tf.convert_to_tensor(actual).numpy(), tf.convert_to_tensor(expected).numpy()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


# --- instance normalisation++ ---


def norm_formula(x, table, levels, ddof=1, gamma_times_alpha=True):
    """The documented formula in double precision; the options are the other conventions."""
    gamma, alpha, beta = np.split(table[levels][:, None, None, :], 3, axis=-1)
    mean = x.mean((1, 2), keepdims=True)
    normal = (x - mean) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    spread = mean.var(3, keepdims=True, ddof=ddof)
    mean_hat = (mean - mean.mean(3, keepdims=True)) / np.sqrt(spread + 1e-5)
    return gamma * normal + (gamma if gamma_times_alpha else 1.0) * alpha * mean_hat + beta


def norm_straightforward(x, table, levels):
    """The same in TensorFlow, for automatic differentiation."""
    rows = (tf.one_hot(levels, table.shape[0], dtype=table.dtype) @ table)[:, None, None, :]
    gamma, alpha, beta = tf.split(rows, 3, axis=-1)
    mean = tf.reduce_mean(x, [1, 2], keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), [1, 2], keepdims=True)
    centred = mean - tf.reduce_mean(mean, 3, keepdims=True)
    spread = tf.reduce_sum(tf.square(centred), 3, keepdims=True) / (x.shape[3] - 1)
    mean_hat = centred / tf.sqrt(spread + 1e-5)
    return gamma * ((x - mean) / tf.sqrt(variance + 1e-5) + alpha * mean_hat) + beta


LEVELS = np.array([2, 0, 2])


def norm_inputs(scale=1.0):
    """x [3, 4, 6, 5] and a table of 4 levels, one row used twice; double precision."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 1, 1, 5)) + rng.normal(size=(3, 4, 6, 5))
    return scale * x, rng.normal(size=(4, 15)), rng.normal(size=x.shape)


def norm(x, table):
    return instance_norm.instance_norm_plus(x, table, tf.constant(LEVELS, tf.int32))


def single(*arrays):
    return [tf.constant(array, tf.float32) for array in arrays]


@pytest.mark.parametrize("scale", [1.0, 1e-3], ids=["unit", "below epsilon"])
def test_norm_is_the_formula_of_the_released_code(scale):
    x, table, _ = norm_inputs(scale)
    y = norm(*single(x, table))
    assert y.dtype == tf.float32
    assert_near(y, norm_formula(x, table, LEVELS), 1e-6)


@pytest.mark.parametrize("convention", [{"ddof": 0}, {"gamma_times_alpha": False}])
def test_norm_is_neither_of_the_other_conventions(convention):
    x, table, _ = norm_inputs()
    other = norm_formula(x, table, LEVELS, **convention)
    assert np.abs(norm(*single(x, table)) - other).max() > 0.05


def test_norm_survives_a_large_mean():
    x, table, _ = norm_inputs()
    assert_near(norm(*single(x + 100.0, table)), norm_formula(x + 100.0, table, LEVELS), 3e-5)


def gradients(fn, x, table, weights):
    with tf.GradientTape() as tape:
        tape.watch([x, table])
        loss = tf.reduce_sum(weights * fn(x, table))
    return tape.gradient(loss, [x, table])


@pytest.mark.parametrize("scale", [1.0, 1e-3], ids=["unit", "below epsilon"])
def test_norm_gradient_is_that_of_automatic_differentiation(scale):
    x, table, weights = norm_inputs(scale)
    expected = gradients(
        lambda x, table: norm_straightforward(x, table, LEVELS),
        *map(tf.constant, (x, table, weights)),
    )
    for wrapped in (gradients, tf.function(gradients)):
        d_x, d_table = wrapped(norm, *single(x, table, weights))
        assert_near(d_x, expected[0], 2e-6)
        assert_near(d_table, expected[1], 2e-6)


def test_norm_gradient_is_that_of_finite_differences():
    x, table, weights = norm_inputs()

    def difference(array):
        result = np.empty_like(array)
        for index in np.ndindex(array.shape):
            values = []
            for step in (1e-5, -2e-5):
                array[index] += step
                values.append((weights * norm_formula(x, table, LEVELS)).sum())
            array[index] += 1e-5
            result[index] = (values[0] - values[1]) / 2e-5
        return result

    d_x, d_table = gradients(norm, *single(x, table, weights))
    assert_near(d_x, difference(x), 2e-6)
    assert_near(d_table, difference(table), 2e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-2], ids=["unit", "near epsilon"])
def test_norm_second_derivatives(scale):
    """Sliced score matching differentiates a gradient: of v . dx + q . dtable by x, table, dy."""
    x, table, weights = norm_inputs(scale)
    rng = np.random.default_rng(1)
    directions = rng.normal(size=x.shape), rng.normal(size=table.shape)

    def second(fn, x, table, weights, directions):
        with tf.GradientTape() as tape:
            tape.watch([x, table, weights])
            first = gradients(fn, x, table, weights)
            pairs = zip(first, directions, strict=True)
            loss = tf.add_n([tf.reduce_sum(gradient * v) for gradient, v in pairs])
        return tape.gradient(loss, [x, table, weights])

    expected = second(
        lambda x, table: norm_straightforward(x, table, LEVELS),
        *map(tf.constant, (x, table, weights)),
        directions,
    )
    for wrapped in (second, tf.function(second)):
        actual = wrapped(norm, *single(x, table, weights), single(*directions))
        for value, correct in zip(actual, expected, strict=True):
            assert_near(value, correct, 5e-6)


def test_norms_of_one_shape_share_their_graphs():
    """However many layers there are: tracing each by itself is most of training's start."""

    def counts():
        shared = instance_norm._normalize, instance_norm._normalize_gradient
        return [fn.experimental_get_tracing_count() for fn in shared]

    x, table = tf.zeros([2, 3, 7, 5]), tf.ones([4, 15])
    levels = tf.constant([1, 2])

    @tf.function(autograph=False)
    def layers(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(3):
                y = instance_norm.instance_norm_plus(y, table, levels)
        return tape.gradient(y, x)

    before = counts()
    layers(x)
    assert counts() == [count + 1 for count in before]


def test_norm_of_bfloat16_keeps_its_statistics_in_float32():
    x, table, weights = norm_inputs()
    x = tf.cast(x + 20.0, tf.bfloat16)  # statistics in bfloat16 would be far off
    exact = tf.cast(x, tf.float64).numpy()
    (table32,) = single(table)
    y = norm(x, table32)
    assert y.dtype == tf.bfloat16
    assert_near(tf.cast(y, tf.float64), norm_formula(exact, table, LEVELS), 2**-8)

    expected = gradients(
        lambda x, table: norm_straightforward(x, table, LEVELS),
        *map(tf.constant, (exact, table)),
        tf.cast(tf.cast(weights, tf.bfloat16), tf.float64),
    )
    d_x, d_table = gradients(norm, x, table32, tf.cast(weights, tf.bfloat16))
    assert d_x.dtype == tf.bfloat16
    assert d_table.dtype == tf.float32
    assert_near(tf.cast(d_x, tf.float64), expected[0], 2**-8)
    assert_near(d_table, expected[1], 2e-5)


# --- pooling and resizing ---


def images(height, width, channels=2):
    return np.random.default_rng(height).normal(size=(3, height, width, channels))


def gradient(fn, x, weights):
    x, weights = single(x, weights)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(weights * fn(x))
    return tape.gradient(loss, x)


def test_average_pool_counts_the_padding():
    pooled = functional.average_pool_5x5(tf.ones([1, 6, 7, 1])).numpy()[0, :, :, 0]
    np.testing.assert_allclose(pooled[[0, 0, -1, -1], [0, -1, 0, -1]], 0.36, rtol=1e-6)
    np.testing.assert_allclose([pooled[0, 3], pooled[3, 0]], 0.6, rtol=1e-6)
    np.testing.assert_allclose(pooled[2:4, 2:5], 1.0, rtol=1e-6)


def naive_pool(x):
    padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
    height, width = x.shape[1:3]
    windows = [padded[:, i : i + height, j : j + width] for i in range(5) for j in range(5)]
    return np.sum(windows, axis=0) / 25


SIZES = [(2, 2), (2, 3), (4, 4), (4, 9), (14, 14)]


@pytest.mark.parametrize("height, width", SIZES)
def test_average_pool_and_its_gradient(height, width):
    x = images(height, width)
    assert_near(functional.average_pool_5x5(*single(x)), naive_pool(x), 1e-6)
    # The mean is a symmetric linear map.
    weights = x[::-1]
    assert_near(gradient(functional.average_pool_5x5, x, weights), naive_pool(weights), 1e-6)


def test_a_barrier_changes_nothing():
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 7, 3)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 5, 7, 3])])
    def run(x):
        y = functional.barrier(x)
        assert y.shape.as_list() == [None, 5, 7, 3]
        return y, tf.gradients(tf.reduce_sum(y**2), x)[0]

    y, gradient = run(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(gradient, 2 * x)


def test_max_pool_looks_at_the_inside_only():
    x = -np.abs(np.random.default_rng(0).normal(size=(2, 5, 7, 3))).astype(np.float32) - 1.0
    padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    np.testing.assert_array_equal(functional.max_pool_5x5(tf.constant(x)), windows.max((-2, -1)))


def test_mean_pool_and_its_gradient():
    x = images(4, 6)
    expected = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    assert_near(functional.mean_pool(*single(x)), expected, 1e-6)
    weights = images(2, 3)
    spread = weights.repeat(2, axis=1).repeat(2, axis=2) / 4
    assert_near(gradient(functional.mean_pool, x, weights), spread, 1e-6)


def test_pooled_kernel_convolves_and_pools():
    """One number at a time: the value, and both gradients, by the adjoint."""
    rng = np.random.default_rng(0)
    x, kernel, weights = (
        rng.normal(size=shape) for shape in [(2, 6, 4, 3), (3, 3, 3, 5), (2, 3, 2, 5)]
    )
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    full = np.einsum("bhwcij,ijcf->bhwf", windows, kernel)
    pooled = np.mean([full[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], 0)
    x, kernel, weights = single(x, kernel, weights)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = tf.nn.conv2d(x, functional.pooled_kernel(kernel), 2, "SAME")
        value = tf.reduce_sum(weights * y)
    d_x, d_kernel = tape.gradient(value, [x, kernel])
    assert_near(y, pooled, 1e-6)
    # Bilinear: along itself, each gradient gives the value.
    for variable, gradient in [(x, d_x), (kernel, d_kernel)]:
        np.testing.assert_allclose(tf.reduce_sum(variable * gradient), value, rtol=1e-4)
    spread = weights.numpy().repeat(2, axis=1).repeat(2, axis=2) / 4
    expected = np.einsum("bhwcij,bhwf->ijcf", windows, spread)
    assert_near(d_kernel, expected, 1e-6)


def test_resize_keeps_the_corners():
    x = tf.constant([[0.0, 1.0], [0.0, 1.0]])[None, :, :, None]
    resized = functional.resize_align_corners(x, 3, 4).numpy()[0, :, :, 0]
    np.testing.assert_allclose(resized, [[0, 1 / 3, 2 / 3, 1]] * 3, atol=1e-7)
    turned = functional.resize_align_corners(tf.transpose(x, [0, 2, 1, 3]), 4, 3).numpy()[
        0, :, :, 0
    ]
    np.testing.assert_allclose(turned, np.transpose([[0, 1 / 3, 2 / 3, 1]] * 3), atol=1e-7)


def interpolation(source, target):
    """Matrix [target, source] of linear interpolation, column by column."""
    position = np.arange(target) * (source - 1) / max(target - 1, 1)
    return np.stack([np.interp(position, np.arange(source), row) for row in np.eye(source)], 1)


@pytest.mark.parametrize("before, after", [((3, 5), (6, 11)), ((7, 4), (4, 7)), ((1, 2), (3, 1))])
def test_resize_and_its_gradient(before, after):
    x = images(*before)
    rows, columns = (interpolation(a, b) for a, b in zip(before, after, strict=True))

    def resize(x):
        return functional.resize_align_corners(x, *after)

    assert_near(resize(*single(x)), np.einsum("Hh,Ww,bhwc->bHWc", rows, columns, x), 1e-6)
    weights = images(*after)
    expected = np.einsum("Hh,Ww,bHWc->bhwc", rows, columns, weights)
    assert_near(gradient(resize, x, weights), expected, 1e-6)


def test_resize_to_the_same_size_is_the_identity():
    (x,) = single(images(4, 6))
    assert functional.resize_align_corners(x, 4, 6) is x


@pytest.mark.parametrize(
    "fn",
    [
        functional.average_pool_5x5,
        functional.mean_pool,
        lambda x: functional.resize_align_corners(x, 8, 8),
    ],
    ids=["average_pool_5x5", "mean_pool", "resize_align_corners"],
)
def test_bfloat16_stays_bfloat16(fn):
    x = tf.cast(images(4, 4), tf.bfloat16)
    y = fn(x)
    assert y.dtype == tf.bfloat16
    assert_near(tf.cast(y, tf.float32), fn(tf.cast(x, tf.float32)), 2**-6)
