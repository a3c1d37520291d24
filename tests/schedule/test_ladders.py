"""Ladders of noise levels, and their values inside of graphs."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.schedule import geometric_sigmas, static_sigmas, uniform_sigmas


@pytest.mark.parametrize("begin, end, levels", [(1.0, 0.01, 10), (50.0, 0.01, 232), (0.3, 0.1, 2)])
def test_ends_are_exact_and_the_ratio_constant(begin, end, levels):
    sigmas = geometric_sigmas(begin, end, levels).numpy()
    assert sigmas.shape == (levels,)
    assert sigmas.dtype == np.float32
    assert sigmas[0] == np.float32(begin)
    assert sigmas[-1] == np.float32(end)
    ratio = (end / begin) ** (1 / (levels - 1))
    np.testing.assert_allclose(sigmas[1:] / sigmas[:-1], ratio, rtol=3e-7)


@pytest.mark.parametrize(
    "name, begin, levels",
    [
        ("ncsn_cifar10_ngf8", 1.0, 10),
        ("ncsnv2_32px_ngf8", 50.0, 232),
        ("ncsnv2_deepest_64px_ngf4", 348.0, 20),
    ],
)
def test_levels_of_the_reference(golden, name, begin, levels):
    expected = golden(name)["sigmas"]
    np.testing.assert_allclose(geometric_sigmas(begin, 0.01, levels), expected, rtol=2e-7)


def test_uniform_levels_are_evenly_spaced():
    sigmas = uniform_sigmas(1.0, 0.1, 7).numpy()
    assert sigmas.dtype == np.float32
    assert (sigmas[0], sigmas[-1]) == (np.float32(1.0), np.float32(0.1))
    np.testing.assert_allclose(np.diff(sigmas), -0.15, rtol=1e-6)


def test_one_level_is_the_first():
    assert uniform_sigmas(0.3, 0.01, 1).numpy().tolist() == [np.float32(0.3)]
    assert geometric_sigmas(0.3, 0.3, 1).numpy().tolist() == [np.float32(0.3)]
    assert geometric_sigmas(0.3, 0.01, 1).numpy().tolist() == [np.float32(0.3)]


@pytest.mark.parametrize(
    "begin, end, levels, message",
    [
        (1.0, 0.01, 0, "num_levels must be at least 1, not 0"),
        (1.0, 0.0, 10, "must be positive, not 1.0 to 0.0"),
        (1.0, -0.01, 10, "must be positive"),
        (-1.0, -2.0, 10, "must be positive"),
        (math.inf, 0.01, 10, "must be positive"),
        (math.nan, 0.01, 10, "must be positive"),
        (1.0, math.nan, 10, "must be positive"),
        (-1.0, 0.01, 1, "must be positive"),
        (0.0, 0.01, 1, "must be positive"),
        (0.01, 1.0, 10, r"sigma_end \(1.0\) must be below sigma_begin \(0.01\)"),
        (1.0, 1.0, 10, "must be below"),
    ],
)
def test_impossible_ladders(begin, end, levels, message):
    for ladder in (geometric_sigmas, uniform_sigmas):
        with pytest.raises(ValueError, match=message):
            ladder(begin, end, levels)


# --- their values inside of graphs ---


@pytest.mark.parametrize("levels", [3, 129, 1000])
def test_values_are_known_while_a_graph_is_made(levels):
    """TensorFlow itself knows those of captured tensors of at most 128 numbers."""

    def values_in_graph(sigmas):
        seen = []
        tf.function(lambda: seen.append(static_sigmas(sigmas)), autograph=False)()
        return seen[0]

    sigmas = geometric_sigmas(50.0, 0.01, levels)
    for kind in (sigmas, sigmas.numpy(), list(sigmas.numpy())):
        values = values_in_graph(kind)
        assert (type(values), values.dtype) == (np.ndarray, np.float32)
        np.testing.assert_array_equal(values, sigmas)
    variable = tf.Variable(sigmas)
    np.testing.assert_array_equal(static_sigmas(variable), sigmas)
    for unknown in (variable, tf.constant(sigmas) + 0.0 * tf.random.uniform([])):
        function = tf.function(static_sigmas, autograph=False)
        with pytest.raises(ValueError, match="sigmas must be known when the graph is made"):
            function(unknown)
