"""Predictor-corrector sampling against the recursion that a Gaussian's exact score gives it."""

import functools

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
    assert_law,
    compiled,
    gaussian_draws,
    ladder,
)

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Rows
from ncsn_tf.sampling.predictor_corrector import PredictorCorrector, predictor_corrector

# Without correction; one a predictor, so that tests share its graph.
predictor_of = functools.cache(
    lambda predictor: PredictorCorrector(SIGMAS, corrector_steps=0, predictor=predictor)
)


def recursion(num_steps_each, corrector_size, predictor):
    """Mean and variance when the corrector's step were that number at every level."""
    sigmas = ladder(num_steps_each)
    mean, variance = 0.5, LEVELS[0] ** 2
    for sigma, following in zip(sigmas, np.append(sigmas[1:], sigmas[-1]), strict=True):
        total = DEVIATION**2 + sigma**2
        if corrector_size:
            step = corrector_size(sigma)
            mean = MEAN + (1 - step / total) * (mean - MEAN)
            variance = (1 - step / total) ** 2 * variance + 2 * step
        if predictor != "none":
            fall = sigma**2 - following**2
            mean = MEAN + (1 - fall / total) * (mean - MEAN)
            variance = (1 - fall / total) ** 2 * variance
            variance += fall * ((following / sigma) ** 2 if predictor == "ancestral" else 1)
    return mean, variance


@pytest.mark.parametrize("predictor", ["reverse", "ancestral"])
def test_predictors_follow_the_exact_recursion(predictor):
    x = gaussian_draws(predictor_of(predictor), num_steps_each=3)
    assert_law(x, *recursion(3, None, predictor))


@pytest.mark.parametrize("predictor", ["reverse", "ancestral"])
def test_predictors_reach_the_marginal_of_the_reverse_sde(predictor):
    """Many small steps from N(1/2, sigma_1^2): nearly N(m, s^2 + sigma_L^2), and by the recursion
    just what they make of that start."""
    mean, variance = recursion(200, None, predictor)
    exact = DEVIATION**2 + LEVELS[-1] ** 2
    assert abs(variance / exact - 1) < 0.02
    x = gaussian_draws(predictor_of(predictor), 2000, num_steps_each=200)
    assert_law(x, mean, variance)
    assert abs(x.var() / exact - 1) < 0.1


@pytest.mark.parametrize("predictor", ["reverse", "none"])
def test_the_corrector_follows_the_exact_recursion(predictor):
    chain = PredictorCorrector(SIGMAS, snr=0.3, predictor=predictor)
    size = lambda sigma: 2 * (0.3 * sigma) ** 2  # noqa: E731
    assert_law(gaussian_draws(chain, num_steps_each=4), *recursion(4, size, predictor))


def test_the_corrector_keeps_the_marginal_of_the_reverse_sde():
    """In four dimensions too, where steps by norms would end with 2.5 times the variance."""
    size = lambda sigma: 2 * (0.16 * sigma) ** 2  # noqa: E731
    mean, variance = recursion(100, size, "reverse")
    exact = DEVIATION**2 + LEVELS[-1] ** 2
    assert abs(variance / exact - 1) < 0.01 and abs(mean - MEAN) < 0.01
    x = gaussian_draws(PredictorCorrector(SIGMAS), 2500, num_steps_each=100)
    assert_law(x, mean, variance)
    assert_law(x, MEAN, exact)
    by_norms = PredictorCorrector(SIGMAS, corrector="langevin")
    assert gaussian_draws(by_norms, 500, num_steps_each=100).var() > 2 * exact


def test_corrector_step_may_be_set_by_the_norms_of_each_image():
    chain = PredictorCorrector(SIGMAS, snr=0.1, predictor="none", corrector="langevin")
    rows = Rows.fill(tf.constant([5, 6], tf.int64), 0.0, 1)
    x = tf.constant([[0.0, 1, 2, 3], [4, 5, 6, 7]])
    moved = chain.step(GaussianScore(), x, rows, 0).numpy()
    noise = random.normal(rows.seeds, SHAPE, Stream.LANGEVIN, (0, 0)).numpy()
    score = (MEAN - x.numpy()) / (DEVIATION**2 + LEVELS[0] ** 2)
    norm = np.linalg.norm
    step = 2 * (0.1 * norm(noise, axis=1) / norm(score, axis=1))[:, None] ** 2
    np.testing.assert_allclose(moved, x + step * score + np.sqrt(2 * step) * noise, rtol=1e-5)


def test_several_corrections_use_fresh_noise():
    rows = Rows.fill(tf.range(3, dtype=tf.int64), 0.0, 1)
    x = tf.ones([3, 4])
    by_hand = x
    chain = PredictorCorrector(SIGMAS, corrector_steps=3, predictor="none")
    place = chain.route.place(GaussianScore(), rows.num_steps_each, 0)
    for count in range(3):
        by_hand = chain._correct(place, by_hand, rows, (0, count))
    moved = chain.step(GaussianScore(), x, rows, 0)
    np.testing.assert_allclose(moved, by_hand, rtol=1e-5)


def test_unknown_parts():
    with pytest.raises(ValueError, match="one of reverse, euler, ancestral, none, not heun"):
        PredictorCorrector(SIGMAS, predictor="heun")
    with pytest.raises(ValueError, match="one of ald, langevin, none, not norm"):
        PredictorCorrector(SIGMAS, corrector="norm")


def test_the_function_draws_with_the_chain():
    settings = {"snr": 0.3, "corrector_steps": 2, "predictor": "ancestral", "corrector": "langevin"}
    x = predictor_corrector(
        GaussianScore(), [3, 4], SHAPE, SIGMAS, [1, 2], **settings, denoise=True, clip=False
    )
    chain = PredictorCorrector(SIGMAS, True, **settings)
    np.testing.assert_allclose(x, compiled(chain)(Rows.fill([3, 4], 0.0, [1, 2])), rtol=1e-4)
