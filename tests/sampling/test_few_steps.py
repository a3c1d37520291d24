"""Solvers of few steps against exact flows and recursions: their order, and the law of each step.

Of a Gaussian N(m, v) all is linear: D(x, sigma) - m = (x - m) v / (v + sigma^2).
"""

import functools
import math
import statistics

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
)

from ncsn_tf import sampling
from ncsn_tf.sampling import (
    DPMSolver,
    DPMSolverSDE,
    Euler,
    EulerAncestral,
    Heun,
    PredictorCorrector,
    Rows,
    draw,
)
from ncsn_tf.sampling.points import schedule_points
from ncsn_tf.schedule.sde import VP, LadderScore
from ncsn_tf.toy.densities import GaussianMixture

ORDERS = {Euler: 1, Heun: 2, DPMSolver: 2}
ENDS = np.array([4.0, 0.02], np.float32)


# --- order of convergence, without noise ---


class MixtureScore:
    """Of 0.7 N(0.2, 0.02) + 0.3 N(0.9, 0.02), or of the first alone, at any sigma."""

    variance, means = 0.02, (0.2, 0.9)

    def __init__(self, weights):
        self.weights = weights
        means = [[mean] for mean in self.means[: len(weights)]]
        self.density = GaussianMixture(weights, means, self.variance)

    def at_sigma(self, x, sigma):
        return self.density.score(x, sigma)

    def share_below(self, x, sigma):
        deviation = math.sqrt(self.variance + sigma**2)
        normal = np.vectorize(statistics.NormalDist(0.0, deviation).cdf)
        parts = zip(self.weights, self.means, strict=False)
        return sum(weight * normal(x - mean) for weight, mean in parts)


def end_of_the_flow(score, start):
    """In one dimension paths do not cross: F_L(x) = F_1(x_0), solved by halving."""
    wanted = score.share_below(start, ENDS[0])
    low, high = np.full(len(start), -3.0), np.full(len(start), 4.0)
    for _ in range(50):
        middle = (low + high) / 2
        is_low = score.share_below(middle, ENDS[-1]) < wanted
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return low


@pytest.mark.parametrize(
    "weights, schedule",
    [((1.0,), "geometric"), ((0.7, 0.3), "karras")],
    ids=["gaussian", "mixture"],
)
def test_the_order_of_convergence(weights, schedule):
    score, seeds = MixtureScore(weights), tf.range(40, dtype=tf.int64)
    start = Euler(ENDS).start(seeds, (1,)).numpy()[:, 0].astype(np.float64)
    exact = end_of_the_flow(score, start)
    for kind, order in ORDERS.items():
        errors = []
        for steps in (16, 32):
            chain = kind(ENDS, num_evaluations=steps * kind.evaluations_a_step, schedule=schedule)
            x = draw(chain, score, Rows.fill(seeds, 0.0, 1), (1,), clip=False)
            errors.append(np.abs(x.numpy()[:, 0] - exact).mean())
        assert errors[-1] < 0.03
        assert abs(math.log2(errors[0] / errors[1]) - order) < 0.2, (kind, errors)


# --- exact recursions, with noise ---

STEPS = 6
POINTS = schedule_points(LEVELS, STEPS + 1, "karras")
SHRINKS = DEVIATION**2 / (DEVIATION**2 + POINTS**2)  # (D - m) / (x - m) at each point


def denoised_law(mean, variance, denoise):
    """Mean and variance of what is left of x - m."""
    shrink = SHRINKS[-1] if denoise else 1.0
    return MEAN + shrink * mean, shrink**2 * variance


@functools.cache
def chain_of(kind, denoise=False, **settings):
    evaluations = STEPS * kind.evaluations_a_step + int(denoise)
    return kind(SIGMAS, denoise, evaluations, "karras", **settings)


@pytest.mark.parametrize("denoise", [pytest.param(False, marks=pytest.mark.slow), True])
def test_ancestral_steps_follow_the_exact_recursion(denoise):
    """x + (t^2 - t'^2) s, and noise of variance t'^2 (t^2 - t'^2) / t^2."""
    mean, variance = 0.5 - MEAN, POINTS[0] ** 2
    for now, following in zip(POINTS, POINTS[1:], strict=False):
        fall = now**2 - following**2
        factor = 1 - fall / (DEVIATION**2 + now**2)
        mean, variance = factor * mean, factor**2 * variance + following**2 * fall / now**2
    x = gaussian_draws(chain_of(EulerAncestral, denoise))
    assert_law(x, *denoised_law(mean, variance, denoise))


@pytest.mark.parametrize("kind", [pytest.param(DPMSolver, marks=pytest.mark.slow), DPMSolverSDE])
def test_multistep_follows_the_exact_recursion(kind):
    """The paper's formulas, of the pair (x, D of the step before)."""
    mean = np.array([0.5 - MEAN, 0.0])
    covariance = np.diag([POINTS[0] ** 2, 0.0])
    lambdas = -np.log(POINTS)
    for i in range(STEPS):
        h = lambdas[i + 1] - lambdas[i]
        own, before = 1.0, 0.0
        if i:
            r = (lambdas[i] - lambdas[i - 1]) / h
            own, before = 1 + 1 / (2 * r), -1 / (2 * r)
        if kind is DPMSolver:
            keep, gain, noise = POINTS[i + 1] / POINTS[i], 1 - math.exp(-h), 0.0
        else:
            # sigma_t / sigma_s exp(-h) x + (1 - exp(-2 h)) D + sigma_t sqrt(1 - exp(-2 h)) z
            keep = POINTS[i + 1] / POINTS[i] * math.exp(-h)
            gain = 1 - math.exp(-2 * h)
            noise = POINTS[i + 1] ** 2 * gain
        step = np.array([[keep + gain * own * SHRINKS[i], gain * before], [SHRINKS[i], 0.0]])
        mean = step @ mean
        covariance = step @ covariance @ step.T + np.diag([noise, 0.0])
    x = gaussian_draws(chain_of(kind))
    assert_law(x, MEAN + mean[0], covariance[0, 0])


CHURN = {"churn": 1.2, "churn_min": 0.2, "churn_max": 1.5, "churn_noise": 1.1}


@pytest.mark.parametrize("kind", [pytest.param(Euler, marks=pytest.mark.slow), Heun])
def test_churn_follows_the_exact_recursion(kind):
    """Algorithm 2 of Karras et al. 2022, within the bounds and without them."""
    churned = 0
    mean, variance = 0.5 - MEAN, POINTS[0] ** 2
    for now, following in zip(POINTS, POINTS[1:], strict=False):
        is_within = CHURN["churn_min"] <= now <= CHURN["churn_max"]
        churned += is_within
        raised = now * (1 + min(CHURN["churn"] / STEPS, math.sqrt(2) - 1) * is_within)
        variance += (raised**2 - now**2) * CHURN["churn_noise"] ** 2
        slope = raised / (DEVIATION**2 + raised**2)  # d / (x - m)
        factor = 1 + (following - raised) * slope
        if kind is Heun:
            second = following / (DEVIATION**2 + following**2) * factor
            factor = 1 + (following - raised) * (slope + second) / 2
        mean, variance = factor * mean, factor**2 * variance
    assert 0 < churned < STEPS
    assert_law(gaussian_draws(chain_of(kind, **CHURN)), MEAN + mean, variance)


def test_churn_is_bounded_and_counts_the_denoising_step():
    doubled = Euler(SIGMAS, num_evaluations=4, churn=1e9)
    np.testing.assert_allclose(
        doubled.tables["raised"][0], math.sqrt(2) * doubled.points[:-1], rtol=1e-12
    )
    some = Euler(SIGMAS, True, num_evaluations=10, churn=1.0)
    np.testing.assert_allclose(some.tables["raised"][0], 1.1 * some.points[:-1], rtol=1e-12)
    assert (
        not Heun(SIGMAS, churn=1.0, churn_min=5.0).tables["spread"].any()
    )  # above all of the levels


# --- relations ---


def test_ancestral_steps_are_those_of_the_predictor():
    """On the levels themselves."""
    chain = EulerAncestral(SIGMAS, False, len(LEVELS) - 1, "ladder")
    predictor = PredictorCorrector(SIGMAS, predictor="ancestral", corrector="none")
    for k in range(len(LEVELS) - 1):
        update = predictor.route.prediction("ancestral", tf.constant([1]), tf.constant(k))
        assert float(update.spread[0]) == pytest.approx(chain.tables["spread"][0, k], rel=1e-5)
        assert float(update.push[0]) == pytest.approx(chain.tables["push"][0, k], rel=1e-5)


def test_two_points_make_the_first_order_cases():
    """A single step has no step before it."""
    rows = Rows.fill(tf.range(50, dtype=tf.int64), 0.0, 1)
    for second, first in ((DPMSolver, Euler), (DPMSolverSDE, EulerAncestral)):
        pair = [kind(SIGMAS, num_evaluations=1) for kind in (second, first)]
        images = [draw(chain, GaussianScore(), rows, SHAPE, clip=False) for chain in pair]
        np.testing.assert_allclose(*images, rtol=1e-5)


@pytest.mark.slow
def test_noise_repairs_a_wrong_start():
    """From around 1/2, 2.5 from the mean: the flow keeps a part of that, the SDE forgets it."""
    wrong = {}
    for kind in (DPMSolver, DPMSolverSDE):
        x = gaussian_draws(kind(SIGMAS, True, 30))
        wrong[kind] = abs(x.mean() - MEAN)
    assert wrong[DPMSolver] > 0.3 > 0.1 > wrong[DPMSolverSDE]


def test_a_mixture_along_the_variance_preserving_equation():
    """`LadderScore` brings it to the units of noise levels; the law is the mixture's."""
    equation, sigmas = VP(), np.array([20.0, 0.02], np.float32)
    weights, means, variance = np.float32([0.7, 0.3]), np.float32([0.1, 0.9]), 0.01

    def score_fn(x, t):
        scale, std = equation.mean_scale(t)[:, None], equation.std(t)[:, None]
        spread = tf.square(scale) * variance + tf.square(std)
        off = scale * means - x  # [B, 2], of the two parts
        share = tf.nn.softmax(tf.math.log(weights) - 0.5 * tf.square(off) / spread, axis=1)
        return tf.reduce_sum(share * off, 1, keepdims=True) / spread

    score = LadderScore(score_fn, equation, sigmas)
    rows = Rows.fill(tf.range(4000, dtype=tf.int64), 0.0, 1)
    run = functools.partial(draw, rows=rows, image_shape=(1,), clip=False)
    x = run(DPMSolverSDE(sigmas, num_evaluations=30), score).numpy()[:, 0]
    first = x < 0.5
    assert abs(first.mean() - 0.7) < 0.03
    for part, mean in ((x[first], 0.1), (x[~first], 0.9)):
        assert abs(part.mean() - mean) < 0.01
        assert abs(part.std() / math.sqrt(variance + 0.02**2) - 1) < 0.06
    density = GaussianMixture(weights, means[:, None], variance)
    heun = Heun(sigmas, num_evaluations=10)
    exploding = density.score_fn(sigmas)
    exploding.at_sigma = density.score
    np.testing.assert_allclose(run(heun, score), run(heun, exploding), atol=5e-3)


# --- the number of evaluations ---


@pytest.mark.parametrize(
    "kind, given, denoise, steps, taken",
    [
        (Euler, 10, False, 10, 10),
        (Euler, 10, True, 9, 10),
        (Heun, 10, False, 5, 10),
        (Heun, 10, True, 4, 9),
        (Heun, 11, True, 5, 11),
        (DPMSolverSDE, 10, True, 9, 10),
        (EulerAncestral, 1, False, 1, 1),
    ],
)
def test_evaluations_are_at_most_those_given(kind, given, denoise, steps, taken):
    chain = kind(SIGMAS, denoise, given)
    assert (chain.num_steps(7), chain.num_evaluations(7)) == (steps, taken)
    assert chain.num_steps(0) == 0
    assert chain.num_steps(tf.constant([0, 1, 9])).numpy().tolist() == [0, steps, steps]


def test_rows_of_no_steps_rest():
    chain = chain_of(DPMSolverSDE)
    x = compiled(chain)(Rows.fill([3, 4], 0.0, [0, 1])).numpy()
    start = chain.images(chain.start(tf.constant([3, 4], tf.int64), SHAPE)).numpy()
    np.testing.assert_array_equal(x[0], start[0])
    assert np.abs(x[1] - start[1]).min() > 1e-3


def test_a_network_of_levels_is_asked_at_its_levels():
    asked = []

    def network(x, levels):
        asked.append(int(levels[0]))
        return MEAN - x

    chain = DPMSolver(SIGMAS, True, 4, "karras", jumps=True)
    draw(chain, network, Rows.fill([1], 0.0, 1), SHAPE)
    assert asked == [0, 1, 2, 4]
    assert np.isin(chain.points, LEVELS).all()


# --- functions and errors ---

FUNCTIONS = {
    "euler": (Euler, CHURN),
    "heun": (Heun, CHURN),
    "dpm_solver": (DPMSolver, {}),
    "dpm_solver_sde": (DPMSolverSDE, {}),
    "euler_ancestral": (EulerAncestral, {}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_function_draws_with_the_chain(name):
    kind, more = FUNCTIONS[name]
    settings = {"num_evaluations": 3, "schedule": "karras", "rho": 3.0, "jumps": True, **more}
    function = getattr(sampling, name)
    score = GaussianScore()
    x = function(score, [3, 4], SHAPE, SIGMAS, denoise=True, clip=False, **settings)
    chain = kind(SIGMAS, denoise=True, **settings)
    expected = draw(chain, score, Rows.fill([3, 4], 0.0, 1), SHAPE, clip=False)
    np.testing.assert_array_equal(x, expected)
    assert np.isfinite(x).all() and x.shape == (2, *SHAPE)


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        (Euler, {"num_evaluations": 0}, "^num_evaluations=0 must be at least 1$"),
        (Heun, {"num_evaluations": 1}, "^num_evaluations=1 must be at least 2$"),
        (
            Heun,
            {"num_evaluations": 2, "denoise": True},
            "^num_evaluations=2 must be at least 3, the denoising one included$",
        ),
        (Heun, {"churn": -1.0}, "^churn=-1.0 must be at least 0$"),
        (Euler, {"churn": math.nan}, "^churn=nan must be at least 0$"),
        (Euler, {"churn_noise": 0.0}, "^churn_noise=0.0 must be above 0$"),
        (
            Euler,
            {"churn_min": 2.0, "churn_max": 1.0},
            "^churn_max=1.0 must be above churn_min=2.0, or 0$",
        ),
        (DPMSolver, {"rho": 0.0}, "^rho=0.0 must be at least 1$"),
        (DPMSolver, {"schedule": "cosine"}, "^schedule must be one of karras, "),
        (DPMSolverSDE, {"sigmas": [1.0]}, "needs at least two noise levels$"),
    ],
)
def test_what_cannot_be(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"sigmas": SIGMAS, **settings})


# --- Langevin steps at the first level, and numbers of evaluations by image ---


@pytest.mark.parametrize("kind", [EulerAncestral, DPMSolver, DPMSolverSDE])
def test_steps_at_the_first_level_are_those_of_langevin_dynamics(kind):
    steps, score = 3, GaussianScore()
    with_first = kind(SIGMAS, False, steps + 4, first_level_steps=steps)
    assert with_first.num_evaluations(1) == steps + 4 == with_first.num_steps(1)
    rows = Rows.fill([3, 4], 0.2 * SIGMAS[-1] ** 2, steps)
    x = with_first.start(rows.seeds, SHAPE)
    langevin = sampling.AnnealedLangevin(SIGMAS)
    expected = with_first.images(x)
    for index in range(steps):
        x = with_first.step(score, x, rows, tf.constant(index))
        size, level = 0.2 * SIGMAS[0] ** 2, tf.zeros([2], tf.int32)
        noise = langevin.noise(rows, SHAPE, (index, 0))
        expected = expected + size * score(expected, level) + math.sqrt(2 * size) * noise
        np.testing.assert_allclose(with_first.images(x), expected, rtol=1e-4, atol=1e-4)


def test_they_forget_the_start():
    kept = []
    for steps in (0, 60):
        chain = DPMSolverSDE([1.0, 0.1], False, 20 + steps, first_level_steps=steps)
        far = 5.0 + chain.start(tf.range(500, dtype=tf.int64), (1,)).x
        state = chain.start(tf.range(500, dtype=tf.int64), (1,))._replace(x=far)
        rows = Rows.fill(range(500), 0.0, 1)
        density = GaussianMixture([1.0], [[0.2]], 4.0)
        state = chain.advance(density.score_fn([1.0, 0.1]), state, rows, 0, chain.num_steps(1))
        kept.append(float(tf.reduce_mean(chain.images(state))) - 0.2)
    # v / (v + sigma_1^2) = 0.8 of the error at the start; then 0.8 * 0.96^60 of it.
    assert kept[0] == pytest.approx(0.8 * 5.3, abs=0.3)
    assert kept[1] == pytest.approx(0.8 * 5.3 * 0.96**60, abs=0.3)


@pytest.mark.parametrize("kind", [Euler, Heun, EulerAncestral, DPMSolver, DPMSolverSDE])
def test_each_image_has_the_evaluations_that_it_asks_for(kind):
    settings = {"jumps": True} | ({"churn": 2.0} if kind in (Euler, Heun) else {})
    asked = [9, 1, 4, 100, 0]
    chosen = kind(SIGMAS, True, 9, most_evaluations=12, **settings)
    x = compiled(chosen)(Rows.fill(range(5), 0.0, asked)).numpy()
    assert chosen.num_steps(tf.constant(asked)).numpy().tolist() == [
        chosen.num_steps(count) for count in asked
    ]
    for row, count in enumerate([9, chosen.least, 4, 12]):
        chain = kind(SIGMAS, True, count, **settings)
        assert chain.num_evaluations(1) == chosen.num_evaluations(count)
        alone = compiled(chain)(Rows.fill(range(5), 0.0, 1)).numpy()
        np.testing.assert_array_equal(x[row], alone[row])


def test_what_they_cannot_be():
    with pytest.raises(ValueError, match="^num_evaluations=5 must be at least 7: first_level_s"):
        DPMSolverSDE(SIGMAS, True, 5, first_level_steps=5)
    with pytest.raises(ValueError, match="^first_level_steps=-1 must be at least 0$"):
        DPMSolverSDE(SIGMAS, first_level_steps=-1)
    with pytest.raises(ValueError, match="^most_evaluations=2 must be at least 3$"):
        Heun(SIGMAS, True, most_evaluations=2)
