"""Likelihoods and flows of the equations, of Gaussians in closed form and of the reference."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend.columns import column
from ncsn_tf.likelihood import Probes, bits_per_dim, log_likelihood
from ncsn_tf.losses import directional_derivatives
from ncsn_tf.sampling.chain import Rows
from ncsn_tf.sampling.ode import ode_start
from ncsn_tf.sampling.probability_flow import ProbabilityFlow
from ncsn_tf.sampling.routes import SdeRoute
from ncsn_tf.schedule.sde import VE, VP, SubVP

NAMES = {"ve": VE(), "vp": VP(), "subvp": SubVP()}


def gaussian_score(sde, mean, deviation):
    """Of N(mean, deviation^2), number by number, carried by an equation."""

    def score(x, t):
        scale = sde.mean_scale(t)
        scale = tf.ones_like(sde.std(t)) if scale is None else scale
        scale, std = column(scale, x), column(sde.std(t), x)
        return (scale * mean - x) / (tf.square(scale * deviation) + tf.square(std))

    return score


class Fixed(Probes):
    """The reference's one probe, whatever the seeds."""

    epsilon = None

    def directions(self, seeds, shape):
        return tf.constant(self.epsilon)[None]


def case(golden, name):
    vectors = golden(f"sde/likelihood_{name}")
    numbers = json.loads(bytes(vectors["config"]))
    return vectors, gaussian_score(NAMES[name], vectors["mu"], vectors["s0"]), numbers


@pytest.mark.parametrize("name", NAMES)
def test_the_likelihood_of_the_reference(name, golden):
    vectors, score_fn, _ = case(golden, name)
    probes = type("Probe", (Fixed,), {"epsilon": vectors["epsilon"]})()
    latent = tf.Variable(tf.zeros_like(vectors["latent"]))

    def prior_log_prob(z):
        latent.assign(z)
        return NAMES[name].prior_log_density(z)

    route = SdeRoute(NAMES[name], epsilon=1e-5)
    run = tf.function(
        lambda x: log_likelihood(
            score_fn, x, [0, 1, 2], route, probes, prior_log_prob=prior_log_prob
        ),
        autograph=False,
    )
    log_probs = run(vectors["data"]).log_probs[:, 0].numpy()
    error = np.abs(latent - vectors["latent"]).max(axis=(1, 2, 3))
    assert np.all(error < 1e-3 * np.abs(vectors["latent"]).max(axis=(1, 2, 3)))
    for centered in (False, True):
        bits = bits_per_dim(log_probs, 48, centered)
        # Theirs has one step size for the batch, and heeds the error of log p less.
        np.testing.assert_allclose(bits, vectors[f"bpd_centered{int(centered)}"], atol=2e-3)
    np.testing.assert_allclose(bits, vectors["exact_bpd_centered1"], atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_drift_and_divergence_of_the_flow(name, golden):
    vectors, score_fn, _ = case(golden, name)
    sde, x, t = NAMES[name], tf.constant(vectors["data"]), tf.constant(vectors["t"])
    flow = sde.reverse(score_fn, probability_flow=True)
    drift, derivatives = directional_derivatives(
        flow.drift, x, t, tf.constant(vectors["epsilon"])[None]
    )
    error = np.abs(drift - vectors["drift"]).max(axis=(1, 2, 3))
    # Of the larger of its two terms, which cancel at t = 1.
    terms = np.maximum(np.abs(vectors["drift"]), np.abs(sde.drift(x, t))).max(axis=(1, 2, 3))
    assert np.all(error <= 2e-6 * terms)
    np.testing.assert_allclose(derivatives[0], vectors["divergence"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_flow_of_the_reference(name, denoise, golden):
    vectors, score_fn, numbers = case(golden, name)
    route = SdeRoute(NAMES[name], epsilon=numbers["sampling_eps"])
    chain = ProbabilityFlow(route, denoise)

    @tf.function(autograph=False)
    def run(z):
        rows = Rows.fill([0, 1, 2], 0.0, 1)
        state = chain.advance(score_fn, ode_start(z), rows, 0, chain.SEGMENTS)
        return chain.finish(score_fn, state, rows)

    x, theirs = run(vectors["z"]).numpy(), vectors[f"ode_sample_denoise{int(denoise)}"]
    error = np.abs(x - theirs).max(axis=(1, 2, 3)) / np.abs(theirs).max(axis=(1, 2, 3))
    assert np.all(error < 1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_gaussian_is_exact(name):
    """With the law that the flow ends in as p_1; theirs is N(0, 1) or N(0, sigma_max^2)."""
    sde, mean, deviation, epsilon = NAMES[name], 0.3, 0.5, 1e-3
    x = np.random.default_rng(0).normal(mean, deviation, [4, 6]).astype(np.float32)

    laws = {}
    for t in (epsilon, 1.0):
        scale = 1.0 if name == "ve" else float(sde.mean_scale(t)[0])
        laws[t] = scale * mean, math.hypot(scale * deviation, float(sde.std(t)[0]))

    def log_prob(x, t):
        center, spread = laws[t]
        return -tf.reduce_sum(
            0.5 * tf.square((x - center) / spread) + math.log(spread * math.sqrt(2 * math.pi)), 1
        )

    run = tf.function(
        lambda x: log_likelihood(
            gaussian_score(sde, mean, deviation),
            x,
            range(4),
            SdeRoute(sde, epsilon),
            prior_log_prob=lambda x: log_prob(x, 1.0),
        ),
        autograph=False,
    )
    result = run(x)
    np.testing.assert_allclose(result.log_probs[:, 0], log_prob(x, epsilon), atol=3e-3)
    own = tf.function(
        lambda x: log_likelihood(
            gaussian_score(sde, mean, deviation), x, range(4), SdeRoute(sde, epsilon)
        ),
        autograph=False,
    )(x).log_probs[:, 0]
    begin, spread = laws[epsilon]
    center, end = laws[1.0]
    z = center + (x - begin) * end / spread  # where the flow takes x
    expected = log_prob(x, epsilon) - log_prob(z, 1.0) + sde.prior_log_density(z)
    np.testing.assert_allclose(own, expected, atol=3e-3)
