"""Ladders of noise levels, and the score of a network between its levels."""

import numpy as np
import pytest
import tensorflow as tf
from gaussian_chains import LEVELS, SIGMAS, ladder

from ncsn_tf.sampling.chain import column
from ncsn_tf.sampling.levels import (
    at_sigma,
    flow_score,
    ladder_length,
    ladder_sigma,
    level_middles,
)


@pytest.mark.parametrize("n", [1, 3])
def test_every_nth_point_of_a_ladder_is_a_level(n):
    each = tf.constant([n, n], tf.int32)
    assert ladder_length(5, n) == len(ladder(n)) == 4 * n + 1
    np.testing.assert_array_equal(ladder_length(5, tf.constant([0, n])), [0, 4 * n + 1])
    sigmas = np.array([ladder_sigma(SIGMAS.numpy(), each, k) for k in range(4 * n + 2)])
    np.testing.assert_allclose(sigmas[:-1:n], LEVELS[:, None].repeat(2, 1), rtol=1e-5)
    expected = np.append(ladder(n), LEVELS[-1])
    np.testing.assert_allclose(sigmas, expected[:, None].repeat(2, 1), rtol=1e-5)


def numbered(x, levels):
    """Level l says l + 1."""
    return tf.ones_like(x) * column(tf.gather([1.0, 2, 3, 4, 5], levels), x)


@pytest.mark.parametrize("sigmas", [SIGMAS, SIGMAS.numpy()])
def test_between_levels_the_nearest_answers_rescaled(sigmas):
    sigma = np.array([2.0, 1.3, 0.3, 0.05, 1e-4, 50], np.float32)
    value = at_sigma(numbered, sigmas)(tf.zeros([6, 4]), tf.constant(sigma)).numpy()
    nearest = np.abs(np.log(sigma)[:, None] - np.log(LEVELS)).argmin(1)
    expected = (nearest + 1) * LEVELS[nearest] / sigma
    np.testing.assert_allclose(value, expected[:, None].repeat(4, 1), rtol=1e-5)


def test_the_flow_reads_the_level_of_its_step_where_the_score_jumps():
    """On both sides of a jump; without jumps the level is that of sigma."""
    sigma = level_middles(SIGMAS.numpy())[[1, 1]].astype(np.float32) * np.float32([1.01, 0.99])
    x = tf.zeros([2, 1])
    for levels in ([1, 1], [2, 2], [2, 1]):
        expected = (np.array(levels) + 1) * LEVELS[levels] / sigma
        score = flow_score(numbered, SIGMAS.numpy(), jumps=True)(x, sigma, tf.constant(levels))
        np.testing.assert_allclose(score[:, 0], expected, rtol=1e-5)
    nearest = flow_score(numbered, SIGMAS.numpy(), jumps=False)
    expected = np.array([2, 3]) * LEVELS[[1, 2]] / sigma
    for levels in ([1, 1], [2, 1]):
        np.testing.assert_allclose(
            nearest(x, tf.constant(sigma), tf.constant(levels))[:, 0], expected, rtol=1e-5
        )
