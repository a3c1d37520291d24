"""Ladders of noise levels, and the techniques that choose one."""

import math
import statistics

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.schedule import (
    choose_num_levels,
    choose_step_lr,
    geometric_sigmas,
    level_ratio,
    static_sigmas,
    uniform_sigmas,
    variance_ratio,
)


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


# --- technique 2 ---


@pytest.mark.parametrize("dimension", [5, 16, 64, 784, 3072, 12288, 256 * 256 * 3])
def test_half_of_the_radii_of_one_level_are_likely_at_the_next(dimension):
    gamma, phi = level_ratio(dimension), statistics.NormalDist().cdf
    assert gamma > 1
    middle = math.sqrt(2 * dimension) * (gamma - 1)
    assert abs(phi(middle + 3 * gamma) - phi(middle - 3 * gamma) - 0.5) < 1e-12


def test_radii_of_neighbouring_levels_overlap_by_half():
    """The technique's meaning: radii of noise of one level that the next level's reach too."""
    dimension, rng = 3072, np.random.default_rng(0)
    gamma = level_ratio(dimension)
    # A radius over sigma is near N(sqrt(D), 1/2); seen from the lower level, gamma times that.
    radii = gamma * np.sqrt(rng.chisquare(dimension, size=40_000))
    reached = np.abs(radii - math.sqrt(dimension)) < 3 * gamma / math.sqrt(2)
    assert abs(reached.mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    "begin, dimension, levels, published",
    [
        (50.0, 32 * 32 * 3, 219, 232),
        (90.0, 64 * 64 * 3, 472, 500),
        (190.0, 128 * 128 * 3, 1026, 1086),
        (348.0, 256 * 256 * 3, 2182, 2311),
    ],
)
def test_number_of_levels(begin, dimension, levels, published):
    assert choose_num_levels(begin, 0.01, dimension) == levels
    assert 0.94 < levels / published < 0.95  # the paper's own solutions were a little finer


def test_a_short_range_has_two_levels():
    assert choose_num_levels(0.0101, 0.01, 64) == 2


@pytest.mark.parametrize(
    "begin, end, dimension, message",
    [
        (1.0, 0.01, 4, "dimension must be at least 5, not 4"),
        (1.0, 1.0, 64, "must be positive and fall, not 1.0 to 1.0"),
        (1.0, 0.0, 64, "must be positive and fall"),
        (math.inf, 0.1, 64, "must be positive and fall"),
    ],
)
def test_impossible_choices_of_levels(begin, end, dimension, message):
    with pytest.raises(ValueError, match=message):
        choose_num_levels(begin, end, dimension)


# --- technique 4 ---

# sigma_1, L, T, step_lr, the variance ratio at it. Without LSUN churches (140, 788, 4): their
# published 4.9e-6 is not technique 4's, which is 2.31e-6.
PUBLISHED = [
    (50.0, 232, 5, 6.2e-6, 1.055),
    (90.0, 500, 5, 3.3e-6, 1.031),
    (190.0, 1086, 3, 1.8e-6, 1.017),
    (348.0, 2311, 3, 0.9e-6, 1.009),
]


def ratio_of(begin, levels, end=0.01):
    return (begin / end) ** (1 / (levels - 1))


@pytest.mark.parametrize("begin, levels, steps, step_lr, variance", PUBLISHED)
def test_published_step_sizes(begin, levels, steps, step_lr, variance):
    ratio = ratio_of(begin, levels)
    assert round(variance_ratio(step_lr, 0.01, ratio, steps), 3) == variance
    assert abs(choose_step_lr(0.01, ratio, steps) / step_lr - 1) < 0.02


@pytest.mark.parametrize("ratio, steps, end", [(1.668, 100, 0.01), (1.04, 1, 0.1), (3.0, 2, 1.0)])
def test_variance_ratio_is_that_of_the_chain(ratio, steps, end):
    """A Gaussian's score is -x / sigma^2: the chain's variance can be followed step by step."""
    step_lr, sigma = 0.06 * end**2, 7.0 * end
    size = step_lr * (sigma / end) ** 2
    variance = (ratio * sigma) ** 2
    for _ in range(steps):
        variance = variance * (1 - size / sigma**2) ** 2 + 2 * size
    assert variance_ratio(step_lr, end, ratio, steps) == pytest.approx(variance / sigma**2, 1e-12)


@pytest.mark.parametrize("ratio", [1.0001, 1.0376, 1.4, 1.5, 5.0])
@pytest.mark.parametrize("steps", [1, 3, 5, 100])
def test_no_step_size_ends_nearer_to_the_level(ratio, steps):
    end = 0.3
    best = choose_step_lr(end, ratio, steps)
    assert 0 < best < 2 * end**2
    least = variance_ratio(best, end, ratio, steps)
    assert 1.0 < least < ratio**2
    grid = np.linspace(0, 2, 2001)[1:-1] * end**2
    assert all(variance_ratio(step, end, ratio, steps) >= least for step in grid)

    def slope(share):  # central difference, in the unit of the solution
        ends = (variance_ratio(best * (1 + shift), end, ratio, steps) for shift in (share, -share))
        return (next(ends) - next(ends)) / (2 * share)

    assert abs(slope(1e-5)) < 1e-7 * ratio**2


@pytest.mark.parametrize("step_lr", [0.0, -1e-6, 2e-4, 1.0])
def test_step_sizes_that_diverge(step_lr):
    with pytest.raises(ValueError, match="step_lr must be between 0 and 2 sigma_end.2 = 0.0002"):
        variance_ratio(step_lr, 0.01, 1.04, 5)


@pytest.mark.parametrize("end, ratio, steps", [(0.0, 1.1, 5), (0.01, 1.0, 5), (0.01, 1.1, 0)])
def test_impossible_choices_of_a_step_size(end, ratio, steps):
    with pytest.raises(ValueError, match=f"not {end}, {ratio}, {steps}"):
        choose_step_lr(end, ratio, steps)
