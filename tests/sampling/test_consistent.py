"""Consistent annealing against the recursion that a Gaussian's exact score gives it."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from gaussian_chains import (
    COUNT,
    DEVIATION,
    LEVELS,
    MEAN,
    SIGMAS,
    GaussianScore,
    assert_law,
    compiled,
    gaussian_draws,
    ladder,
)

from ncsn_tf.sampling.chain import Rows, column
from ncsn_tf.sampling.consistent import (
    ConsistentAnnealing,
    consistent_annealing,
    consistent_step_range,
)

chain_of = functools.cache(lambda denoise: ConsistentAnnealing(SIGMAS, denoise))


@pytest.mark.parametrize("num_steps_each", [1, 5])
def test_possible_steps(num_steps_each):
    """b = sqrt(1 - ((1 - h) / g)^2) is 0 at both ends, g the ratio of neighbouring points."""
    ratio = ladder(num_steps_each)[1] / ladder(num_steps_each)[0]
    for step_lr in consistent_step_range(SIGMAS.numpy(), num_steps_each):
        share = (1 - step_lr / LEVELS[-1] ** 2) / ratio
        assert share**2 == pytest.approx(1.0, rel=1e-6)
    several = consistent_step_range(SIGMAS.numpy(), np.array([1, num_steps_each]))
    np.testing.assert_array_equal(
        [values[1] for values in several], consistent_step_range(SIGMAS.numpy(), num_steps_each)
    )


@pytest.mark.parametrize("num_steps_each", [1, 4])
@pytest.mark.parametrize("denoise", [False, True])
def test_it_follows_the_exact_recursion(num_steps_each, denoise):
    sigmas = ladder(num_steps_each)
    ratio = sigmas[1] / sigmas[0]
    step_lr = 0.8 * LEVELS[-1] ** 2
    size = step_lr / LEVELS[-1] ** 2
    spread = np.sqrt(1 - ((1 - size) / ratio) ** 2)
    mean, variance = 0.5, 1 / 12
    for k, sigma in enumerate(sigmas):
        shrink = 1 - size * sigma**2 / (DEVIATION**2 + sigma**2)
        mean = MEAN + shrink * (mean - MEAN)
        variance = shrink**2 * variance
        if k + 1 < len(sigmas):
            variance += (spread * sigmas[k + 1]) ** 2
    if denoise:
        shrink = 1 - LEVELS[-1] ** 2 / (DEVIATION**2 + LEVELS[-1] ** 2)
        mean, variance = MEAN + shrink * (mean - MEAN), shrink**2 * variance
    x = gaussian_draws(chain_of(denoise), COUNT, step_lr, num_steps_each)
    assert_law(x, mean, variance)


def test_it_is_consistent():
    """With a single clean image behind the score, each level's deviation is reached exactly."""

    def score(x, levels):
        return (MEAN - x) / column(tf.square(tf.gather(SIGMAS, levels)), x)

    rows = Rows.fill(tf.range(COUNT, dtype=tf.int64), 0.9 * LEVELS[-1] ** 2, 1)
    noise = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)
    x = tf.constant(MEAN + LEVELS[0].astype(np.float32) * noise)
    for k in range(4):
        x = chain_of(False).step(score, x, rows, k)
        variance = LEVELS[k + 1] ** 2
        assert abs(np.var(x) - variance) < 4 * variance * np.sqrt(2 / noise.size)


def test_the_function_draws_with_the_chain():
    seeds, step_lr = [3, 4], 0.8 * LEVELS[-1] ** 2
    settings = (GaussianScore(), seeds, (4,), SIGMAS, step_lr, [1, 2])
    x = consistent_annealing(*settings, denoise=True, clip=False)
    expected = compiled(chain_of(True))(Rows.fill(seeds, step_lr, [1, 2]))
    np.testing.assert_allclose(x, expected, rtol=1e-5)
