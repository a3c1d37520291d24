"""Likelihoods along the probability flow against densities that are known."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import likelihood
from ncsn_tf.likelihood import Probes, log_likelihood, normal_log_prob
from ncsn_tf.losses import directional_derivatives
from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.sampling.chain import column
from ncsn_tf.sampling.levels import at_sigma
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.settings import rules
from ncsn_tf.toy.densities import GaussianMixture

SIGMAS = geometric_sigmas(3.0, 0.05, 6).numpy()
FIRST, LAST = (float(sigma) for sigma in SIGMAS[[0, -1]])
MEAN, DEVIATION = 0.3, 0.4
END = math.hypot(DEVIATION, FIRST)  # standard deviation of the Gaussian data under all the noise


class GaussianScore:
    """Of N(MEAN, DEVIATION^2 I) under noise of any sigma."""

    def at_sigma(self, x, sigma):
        return (MEAN - x) / column(DEVIATION**2 + tf.square(sigma), x)


class CorrelatedScore:
    """Of N(0, C) in the plane: s(x) = -(C + sigma^2 I)^-1 x."""

    covariance = tf.constant([[0.5, 0.42], [0.42, 0.4]])

    def at_sigma(self, x, sigma):
        total = self.covariance + tf.square(sigma)[:, None, None] * tf.eye(2)
        return -tf.linalg.solve(total, x[:, :, None])[:, :, 0]

    @classmethod
    def log_prob(cls, x, sigma):
        total = cls.covariance + sigma**2 * tf.eye(2)
        squares = tf.reduce_sum(x * tf.linalg.matvec(tf.linalg.inv(total), x), 1)
        return -0.5 * (squares + tf.math.log(tf.linalg.det(2 * math.pi * total)))


class MixtureScore:
    """Of three modes in the plane; the flow bends between them."""

    density = GaussianMixture([0.6, 0.3, 0.1], [[2.0, 0], [-1, 1], [0, -2]], [[0.1], [0.3], [0.05]])

    def at_sigma(self, x, sigma):
        return self.density.score(x, sigma)


def compute(score_fn, x, seeds=None, **options):
    """`log_likelihood` as one compiled function."""
    seeds = np.arange(len(x)) if seeds is None else seeds
    run = tf.function(
        lambda x, seeds: log_likelihood(score_fn, x, seeds, SIGMAS, **options), autograph=False
    )
    result = run(tf.constant(x, tf.float32), tf.constant(seeds, tf.int64))
    return likelihood.Likelihood(*(part.numpy() for part in result))


def gaussian_draws(count, size, seed=0):
    return np.random.default_rng(seed).normal(MEAN, DEVIATION, [count, size]).astype(np.float32)


def exact_gaussian(x, deviation):
    x = np.asarray(x, np.float64)
    squares = ((x - MEAN) / deviation) ** 2
    return -0.5 * np.sum(squares + math.log(2 * math.pi * deviation**2), axis=1)


# --- densities that are known ---


@pytest.mark.parametrize(
    "size, divergence", [(2, "exact"), (2, "rademacher"), (3072, "rademacher")]
)
def test_gaussians_are_exact(size, divergence):
    """Also by one Rademacher probe: J is c I, and v^T c I v = c v^T v = c D for signs v."""
    x = gaussian_draws(5, size)
    result = compute(
        GaussianScore(),
        x,
        probes=Probes(divergence),
        prior_log_prob=lambda x: normal_log_prob(x, MEAN, END),
    )
    exact = exact_gaussian(x, math.hypot(DEVIATION, LAST))
    assert result.log_probs.shape == (5, 1)
    np.testing.assert_allclose(result.log_probs[:, 0] / size, exact / size, atol=1e-4)
    assert np.all(result.evaluations % 6 == 1)
    assert np.all((result.evaluations >= 13) & (result.evaluations < 300))


def test_images_have_the_prior_of_the_samplers():
    """The same integral, and another density at its end: N(1/2, sigma_1^2)."""
    x = gaussian_draws(4, 12)
    result = compute(GaussianScore(), x.reshape(4, 2, 3, 2))
    end = MEAN + (x - MEAN) * END / math.hypot(DEVIATION, LAST)
    exact = exact_gaussian(x, math.hypot(DEVIATION, LAST)) - exact_gaussian(end, END)
    exact += -0.5 * np.sum(((end - 0.5) / FIRST) ** 2 + math.log(2 * math.pi * FIRST**2), 1)
    np.testing.assert_allclose(result.log_probs[:, 0], exact, atol=2e-3)


def test_a_mixture_is_exact():
    density = MixtureScore.density
    x = density.perturbed(LAST).sample(tf.range(20, dtype=tf.int64)).numpy()
    result = compute(
        MixtureScore(),
        x,
        probes=Probes("exact"),
        prior_log_prob=lambda x: density.log_prob(x, FIRST),
    )
    np.testing.assert_allclose(result.log_probs[:, 0], density.log_prob(x, LAST), atol=2e-3)


def test_the_tolerance_is_that_of_the_result():
    density = MixtureScore.density
    x = density.perturbed(LAST).sample(tf.range(20, dtype=tf.int64)).numpy()
    error, evaluations = {}, {}
    for tolerance in (1e-2, 1e-4):
        result = compute(
            MixtureScore(),
            x,
            probes=Probes("exact"),
            tolerance=tolerance,
            prior_log_prob=lambda x: density.log_prob(x, FIRST),
        )
        error[tolerance] = np.abs(result.log_probs[:, 0] - density.log_prob(x, LAST)).max()
        evaluations[tolerance] = result.evaluations.mean()
    assert error[1e-4] < 0.1 * error[1e-2] < 0.1
    assert evaluations[1e-2] < evaluations[1e-4]


def test_the_integral_is_controlled_where_x_stands_still():
    """x rests at 0, and div f / D = 5 exp(-((t - 2) / 0.4)^2): only log p asks for short steps."""

    class Score:
        def at_sigma(self, x, sigma):
            bump = 5.0 * tf.exp(-tf.square((tf.math.log(sigma / LAST) - 2.0) / 0.4))
            return -column(bump / tf.square(sigma), x) * x

    result = compute(
        Score(), np.zeros([1, 3072]), tolerance=1e-3, prior_log_prob=lambda x: 0.0 * x[:, 0]
    )
    integral = 5.0 * 0.4 * math.sqrt(math.pi)
    assert result.log_probs[0, 0] / 3072 == pytest.approx(integral, abs=0.03)


class JumpingScore:
    """Of N(MEAN, DEVIATION^2 I) at six levels: between them a network of discrete levels."""

    def __call__(self, x, levels):
        return (MEAN - x) / column(DEVIATION**2 + tf.square(tf.gather(SIGMAS, levels)), x)


def exact_jumping(x):
    """log p by hand: by level c, dx/dt = c sigma (x - m) / (s^2 + c^2)."""
    middles = np.sqrt(SIGMAS[:-1] * SIGMAS[1:])
    edges = np.array([FIRST, *middles, LAST], np.float64)
    growths = [
        level * (above - below) / (DEVIATION**2 + level**2)
        for level, above, below in zip(SIGMAS.astype(float), edges[:-1], edges[1:], strict=True)
    ]
    end = MEAN + (x - MEAN) * math.exp(sum(growths))
    return exact_gaussian(end, END) + x.shape[1] * sum(growths)


def test_a_score_that_jumps_is_integrated_piece_by_piece():
    x = gaussian_draws(4, 3)
    options = {"tolerance": 1e-5, "prior_log_prob": lambda x: normal_log_prob(x, MEAN, END)}
    known = compute(JumpingScore(), x, jumps=True, **options)
    found = compute(JumpingScore(), x, **options)
    np.testing.assert_allclose(known.log_probs[:, 0], exact_jumping(x), atol=2e-4)
    np.testing.assert_allclose(found.log_probs[:, 0], exact_jumping(x), atol=2e-2)
    assert np.all(known.evaluations < 0.6 * found.evaluations)


# --- the estimator ---


@pytest.mark.parametrize("divergence", ["rademacher", "gaussian"])
def test_the_estimator_is_unbiased(divergence):
    """And each row has its own probes."""
    x = np.repeat([[0.7, -0.2]], 3, 0)
    result = compute(
        CorrelatedScore(),
        x,
        [1, 2, 1],
        probes=Probes(divergence, 4000),
        prior_log_prob=lambda x: CorrelatedScore.log_prob(x, FIRST),
    )
    exact = CorrelatedScore.log_prob(tf.constant(x, tf.float32), LAST)
    deviation = result.log_probs.std(1)
    assert np.all(deviation > 0.3)
    errors = result.log_probs.mean(1) - exact
    assert np.all(np.abs(errors) < 4 * deviation / math.sqrt(4000))
    np.testing.assert_array_equal(result.log_probs[0], result.log_probs[2])
    assert abs(np.corrcoef(result.log_probs[:2])[0, 1]) < 4 / math.sqrt(4000)


@pytest.mark.parametrize("divergence", ["rademacher", "gaussian"])
def test_probes(divergence):
    v = Probes(divergence, 500).directions(tf.constant([3, 4, 3], tf.int64), (5, 4)).numpy()
    assert v.shape == (500, 3, 5, 4)
    np.testing.assert_array_equal(v[:, 0], v[:, 2])
    flat = v[:, :2].reshape(500, 40)
    moments = flat.T @ flat / 500  # of all elements of two rows: the unit matrix
    bound = 5 * np.sqrt((1 + np.eye(40)) / 500)
    assert np.all(np.abs(moments - np.eye(40)) < bound)
    assert np.abs(flat.mean()) < 4 / math.sqrt(flat.size)
    if divergence == "rademacher":
        np.testing.assert_array_equal(np.unique(v), [-1, 1])
    again = Probes(divergence, 500, (1, 0)).directions(tf.constant([3], tf.int64), (5, 4)).numpy()
    assert abs(np.mean(again * v[:, :1])) < 4 / math.sqrt(again.size)


NETWORKS = {
    "ncsn": lambda: NCSN((4, 4, 1), features=2, num_levels=6),
    "ncsnv2": lambda: NCSNv2((4, 4, 1), features=2, sigmas=SIGMAS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_estimates_of_a_network_agree_with_its_jacobian(name):
    network = NETWORKS[name]()
    x = tf.constant(np.random.default_rng(0).uniform(size=[2, 4, 4, 1]), tf.float32)
    sigma = tf.constant([2.0, 0.1])
    score_at = at_sigma(network, SIGMAS)
    seeds = tf.constant([0, 1], tf.int64)

    kinds = [Probes("exact"), Probes("rademacher", 64)]
    directions = [probes.directions(seeds, (4, 4, 1)) for probes in kinds]
    directions = [tf.broadcast_to(each, [len(each), 2, 4, 4, 1]) for each in directions]

    @tf.function(autograph=False)
    def score_and_traces():
        """Of both kinds at once: the network is differentiated one time."""
        score, both = directional_derivatives(score_at, x, sigma, tf.concat(directions, 0))
        parts = tf.split(both, [len(each) for each in directions])
        return score, *(probes.traces(part) for probes, part in zip(kinds, parts, strict=True))

    score, exact, estimates = score_and_traces()
    assert exact.shape == (2, 1)

    @tf.function(autograph=False)
    def score_and_row(unit):
        """The score, and its Jacobian's row of one number, both [2, 16]."""
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = score_at(x, sigma)
        row = tape.gradient(score, x, tf.reshape(tf.tile(unit[None], [2, 1]), x.shape))
        return tf.reshape(score, [2, 16]), tf.reshape(row, [2, 16])

    plain, jacobian = zip(*(score_and_row(unit) for unit in tf.eye(16)), strict=True)
    np.testing.assert_allclose(tf.reshape(score, [2, 16]), plain[0], rtol=1e-4, atol=1e-5)
    trace = sum(row[:, index] for index, row in enumerate(jacobian))
    np.testing.assert_allclose(exact[:, 0], trace, rtol=1e-3, atol=1e-5)
    deviation = np.std(estimates, axis=1)
    assert np.all(deviation > 0)
    assert np.all(np.abs(np.mean(estimates, 1) - exact[:, 0]) < 4 * deviation / math.sqrt(64))


def test_a_row_depends_on_its_own_seed_alone():
    """Alone and among others, in tiles: the same bits."""
    x = np.random.default_rng(1).normal(size=[5, 2]).astype(np.float32)
    options = {"tile": 2, "probes": Probes(count=3, counters=(1, 0))}
    together = compute(CorrelatedScore(), x, [7, 8, 9, 10, 11], **options)
    alone = compute(CorrelatedScore(), x[2:3], [9], **options)
    for part, whole in zip(alone, together, strict=True):
        np.testing.assert_array_equal(part[0], whole[2])
    other = compute(CorrelatedScore(), x[2:3], [9], tile=2, probes=Probes(count=3))
    assert np.all(other.log_probs != alone.log_probs)


# --- bits per dimension ---


def test_dequantisation_stays_within_its_grey_level():
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 128)
    x = likelihood.dequantize(pixels, tf.constant([1, 1], tf.int64)).numpy()
    np.testing.assert_array_equal(np.floor(x.astype(np.float64) * 256), pixels)
    u = x * 256 - pixels
    assert abs(u.mean() - 0.5) < 4 / math.sqrt(12 * 128)
    assert u.std() == pytest.approx(math.sqrt(1 / 12), rel=0.1)
    other = likelihood.dequantize(pixels, tf.constant([2, 1], tf.int64)).numpy()
    assert np.all(other[0] != x[0])
    np.testing.assert_array_equal(other[1], x[1])
    assert np.all(likelihood.dequantize(pixels, tf.constant([1, 1], tf.int64), (1, 0)) != x)


def test_bits_per_dim():
    assert likelihood.bits_per_dim(0.0, 10) == 8.0  # the uniform density
    log_mass = 10 * math.log(0.25)  # a quarter for each number, as mass: two bits
    assert likelihood.bits_per_dim(log_mass + 10 * math.log(256), 10) == pytest.approx(2.0)


# --- what it refuses, and what it does with what is not a number ---


@pytest.mark.parametrize(
    "probes, message",
    [
        (Probes("exact", 2), "without probes, not for 4 numbers with 2 probes"),
        (Probes("hutchinson"), "one of rademacher, gaussian, exact .*, not hutchinson"),
        (Probes(count=0), "at least one probe, not rademacher with 0 probes"),
    ],
)
def test_refused(probes, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood(GaussianScore(), tf.zeros([1, 4]), [0], SIGMAS, probes)


def test_settings_and_library_have_one_limit():
    assert rules.LARGEST_EXACT == likelihood.LARGEST_EXACT


def test_the_exact_divergence_is_for_few_numbers():
    with pytest.raises(ValueError, match="at most 256 numbers"):
        log_likelihood(GaussianScore(), tf.zeros([1, 257]), [0], SIGMAS, Probes("exact"))


@pytest.mark.parametrize("sigmas", [[1.0], [1.0, 1.0], [0.1, 1.0]])
def test_levels_must_fall(sigmas):
    with pytest.raises(ValueError, match="two falling noise levels"):
        log_likelihood(GaussianScore(), tf.zeros([1, 4]), [0], sigmas)


def test_a_function_may_capture_many_levels():
    sigmas = geometric_sigmas(FIRST, LAST, 200)
    run = tf.function(
        lambda x: log_likelihood(GaussianScore(), x, [0, 1], sigmas).log_probs, autograph=False
    )
    x = gaussian_draws(2, 3)
    np.testing.assert_allclose(run(x), compute(GaussianScore(), x).log_probs, rtol=1e-4)


def test_one_bad_row_spoils_no_other():
    x = gaussian_draws(2, 3)
    spoilt = np.concatenate([x[:1], np.full([1, 3], np.nan, np.float32), x[1:]])
    good = compute(GaussianScore(), x, [0, 2]).log_probs
    result = compute(GaussianScore(), spoilt).log_probs
    assert np.isnan(result[1]).all()
    np.testing.assert_allclose(result[[0, 2]], good, rtol=1e-6)
