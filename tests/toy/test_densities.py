"""Gaussian mixtures: densities, scores and draws against plain formulas."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.toy.densities import GaussianMixture

WEIGHTS = np.array([0.5, 0.2, 0.3])
MEANS = np.array([[0.0, 1.0], [-2.0, 0.5], [1.5, -1.0]])
VARIANCES = np.array([[0.5, 1.0], [0.2, 0.7], [2.0, 0.3]])
X = np.random.default_rng(0).normal(scale=2.0, size=(20, 2))
SIGMA = np.random.default_rng(1).uniform(0.0, 2.0, size=20)


def mixture(weights=WEIGHTS, means=MEANS, variances=VARIANCES):
    return GaussianMixture(weights, means, variances)


def joint(x, sigma):
    """w_k N(x; mu_k, v_k + sigma^2) in double precision: [B, K]."""
    variances = VARIANCES + np.reshape(np.square(sigma), (-1, 1, 1))
    terms = np.square(x[:, None] - MEANS) / variances + np.log(2 * np.pi * variances)
    return WEIGHTS * np.exp(-0.5 * terms.sum(2))


@pytest.mark.parametrize("sigma", [0.0, 0.7, SIGMA], ids=["clean", "perturbed", "each its own"])
def test_density_and_responsibilities_are_the_formula(sigma):
    expected = joint(X, sigma)
    np.testing.assert_allclose(mixture().log_prob(X, sigma), np.log(expected.sum(1)), rtol=1e-5)
    shares = expected / expected.sum(1, keepdims=True)
    np.testing.assert_allclose(mixture().responsibilities(X, sigma), shares, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.7, SIGMA], ids=["clean", "perturbed", "each its own"])
def test_score_is_the_gradient_of_the_log_density(sigma):
    step = 1e-5
    expected = np.stack(
        [
            np.log(joint(X + step * axis, sigma).sum(1) / joint(X - step * axis, sigma).sum(1))
            for axis in np.eye(2)
        ],
        1,
    ) / (2 * step)
    np.testing.assert_allclose(mixture().score(X, sigma), expected, rtol=1e-4, atol=1e-5)


def test_a_perturbed_mixture_is_the_mixture_with_noise():
    perturbed = mixture().perturbed(0.7)
    np.testing.assert_allclose(perturbed.log_prob(X), np.log(joint(X, 0.7).sum(1)), rtol=1e-5)
    np.testing.assert_allclose(perturbed.score(X), mixture().score(X, 0.7), rtol=1e-5)


def test_score_function_by_noise_level():
    sigmas = np.array([2.0, 0.5, 0.1])
    levels = np.arange(20) % 3
    score = mixture().score_fn(sigmas)(tf.constant(X, tf.float32), tf.constant(levels, tf.int32))
    np.testing.assert_allclose(score, mixture().score(X, sigmas[levels]), rtol=1e-6)


def test_far_from_every_mode_the_score_is_finite():
    far = np.array([[1e3, -1e3]])
    expected = (MEANS[2] - far) / VARIANCES[2]  # not the widest in every direction
    score = mixture().score(far).numpy()
    assert np.all(np.isfinite(score))
    nearest = np.argmax(mixture().responsibilities(far).numpy())
    expected = (MEANS[nearest] - far) / VARIANCES[nearest]
    np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_draws_have_the_mixtures_law():
    count = 40_000
    x = mixture().sample(np.arange(count)).numpy().astype(np.float64)
    mean = WEIGHTS @ MEANS
    second = np.einsum("k,kij->ij", WEIGHTS, [np.diag(v) for v in VARIANCES])
    second += np.einsum("k,ki,kj->ij", WEIGHTS, MEANS, MEANS)
    deviation = np.sqrt(np.diag(second) - mean**2)
    assert np.all(np.abs(x.mean(0) - mean) < 4 * deviation / np.sqrt(count))
    products = x[:, :, None] * x[:, None, :]
    error = np.abs(products.mean(0) - second)
    assert np.all(error < 4 * products.std(0) / np.sqrt(count))
    share = np.mean(x[:, 0] < -1.2)  # a third moment would not see swapped variances
    bounds = (-1.2 - MEANS[:, 0]) / np.sqrt(VARIANCES[:, 0])
    expected = WEIGHTS @ [0.5 * (1 + float(tf.math.erf(b / np.sqrt(2)))) for b in bounds]
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


def test_a_draw_is_a_function_of_its_seed_and_counters():
    seeds = np.array([7, 8, 9], np.int64)
    x = mixture().sample(seeds, (1, 2))
    np.testing.assert_array_equal(mixture().sample(seeds[1:], (1, 2)), x[1:])
    assert not np.any(mixture().sample(seeds, (1, 3)) == x)


@pytest.mark.parametrize("variances", [2.0, [[2.0]], [[2.0]] * 3, [[2.0, 2.0]]])
def test_variances_broadcast_to_the_means(variances):
    np.testing.assert_array_equal(mixture(variances=variances).variances, np.full((3, 2), 2.0))


def test_weights_are_normalised():
    np.testing.assert_allclose(mixture(weights=10 * WEIGHTS).weights, WEIGHTS, rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"weights": [0.5, 0.5]}, r"\[K\] and \[K, D\], not \[2\] and \[3, 2\]"),
        ({"means": [0.0, 1.0, 2.0]}, r"\[K\] and \[K, D\]"),
        ({"weights": [0.5, 0.0, 0.5]}, "must be positive"),
        ({"variances": -1.0}, "must be positive"),
        ({"variances": float("nan")}, "must be positive"),
        (
            {"variances": [1.0, 1.0, 1.0]},
            r"variances of shape \[3\] do not fit the means, \[3, 2\]",
        ),
    ],
)
def test_what_is_no_mixture(arguments, message):
    with pytest.raises(ValueError, match=message):
        mixture(**arguments)
