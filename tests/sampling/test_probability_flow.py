"""The probability flow against the solution that a Gaussian's exact score gives it."""

import numpy as np
import pytest
import tensorflow as tf
from gaussian_chains import (
    DEVIATION,
    LEVELS,
    MEAN,
    SHAPE,
    SIGMAS,
    GaussianScore,
    gaussian_draws,
)

from ncsn_tf.sampling.chain import Rows
from ncsn_tf.sampling.probability_flow import ProbabilityFlow, probability_flow
from ncsn_tf.schedule import geometric_sigmas


@pytest.mark.parametrize("tolerance, bound", [(1e-3, 3e-3), (1e-5, 1e-4)])
def test_it_is_exact_within_its_tolerance(tolerance, bound):
    chain = ProbabilityFlow(SIGMAS, rtol=tolerance, atol=tolerance)
    x = gaussian_draws(chain, 200)
    start = chain.start(tf.range(200, dtype=tf.int64), SHAPE).y.numpy()
    shrink = np.sqrt((DEVIATION**2 + LEVELS[-1] ** 2) / (DEVIATION**2 + LEVELS[0] ** 2))
    np.testing.assert_allclose(x, MEAN + shrink * (start - MEAN), atol=bound)


def test_it_counts_its_evaluations():
    def evaluations(tolerance):
        chain = ProbabilityFlow(SIGMAS, rtol=tolerance, atol=tolerance)
        rows = Rows.fill(tf.range(8, dtype=tf.int64), 0.0, [1] * 7 + [0])
        state = chain.start(rows.seeds, SHAPE)
        state = chain.advance(GaussianScore(), state, rows, 0, chain.SEGMENTS)
        np.testing.assert_allclose(state.time, chain.end, rtol=1e-6)
        return chain.evaluations(state).numpy()

    coarse, fine = evaluations(1e-2), evaluations(1e-5)
    assert np.all(coarse % 6 == 1)
    assert 13 <= coarse[0] < fine[0] < 200
    assert coarse[-1] == 1  # it asked for no steps


@pytest.mark.parametrize("jumps, bound", [(True, 1e-4), (False, 5e-2)])
def test_discrete_levels(jumps, bound):
    """By level c, x - m shrinks by exp(-c (a - b) / (s^2 + c^2)) where sigma falls from a to b."""
    chain = ProbabilityFlow(SIGMAS, rtol=1e-5, atol=1e-5, jumps=jumps)
    rows = Rows.fill(tf.range(20, dtype=tf.int64), 0.0, 1)
    discrete = lambda x, levels: GaussianScore()(x, levels)  # noqa: E731 (without at_sigma)
    run = tf.function(lambda state: chain.advance(discrete, state, rows, 0, 20), autograph=False)
    start = chain.start(rows.seeds, SHAPE)
    state = run(start)
    edges = np.array([LEVELS[0], *np.sqrt(LEVELS[:-1] * LEVELS[1:]), LEVELS[-1]])
    shrink = np.exp(np.sum(LEVELS * np.diff(edges) / (DEVIATION**2 + LEVELS**2)))
    np.testing.assert_allclose(state.y, MEAN + shrink * (start.y - MEAN), atol=bound)
    if jumps:
        assert np.all(state.evaluations < 100)
    else:
        assert np.all(state.evaluations > 100)


def test_it_needs_two_levels():
    with pytest.raises(ValueError, match="two noise levels"):
        ProbabilityFlow(geometric_sigmas(1.0, 1.0, 1))


def test_the_function_draws_with_the_chain():
    chain = ProbabilityFlow(SIGMAS, True, 1e-2, 1e-3)
    x = probability_flow(
        GaussianScore(), range(3), SHAPE, SIGMAS, 1e-2, 1e-3, denoise=True, clip=False
    )
    np.testing.assert_allclose(x, gaussian_draws(chain, 3), rtol=1e-5)
