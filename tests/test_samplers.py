"""Samplers against the laws and recursions that a Gaussian's exact score gives them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import sampling
from ncsn_tf.chain_options import ChainOptions
from ncsn_tf.config import Config
from ncsn_tf.errors import ConfigError
from ncsn_tf.flow import ProbabilityFlow
from ncsn_tf.langevin import (
    AnnealedLangevin,
    ConsistentAnnealing,
    at_sigma,
    consistent_step_range,
    ladder_length,
    ladder_sigma,
)
from ncsn_tf.samplers import make_chain, step_sizes
from ncsn_tf.sampling import Rows
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.sde import PredictorCorrector

MEAN, DEVIATION = 3.0, 0.3
SIGMAS = geometric_sigmas(2.0, 0.05, 5)
LEVELS = SIGMAS.numpy().astype(np.float64)
SHAPE = (4,)
COUNT = 20_000


class GaussianScore:
    """Of N(MEAN, DEVIATION^2) perturbed at a level, or at any sigma."""

    def __call__(self, x, labels):
        return self.at_sigma(x, tf.gather(SIGMAS, labels))

    def at_sigma(self, x, sigma):
        return (MEAN - x) / sampling.column(DEVIATION**2 + tf.square(sigma), x)


def draw(chain, count=COUNT, step_lr=1e-3, num_steps_each=1):
    rows = Rows.fill(tf.range(count, dtype=tf.int64), step_lr, num_steps_each)
    run = tf.function(
        lambda rows: sampling.draw(chain, GaussianScore(), rows, SHAPE, clip=False),
        autograph=False,
    )
    return run(rows).numpy().astype(np.float64)


def assert_law(x, mean, variance):
    """Within four standard errors; no two numbers of an image go together."""
    assert abs(x.mean() - mean) < 4 * np.sqrt(variance / x.size)
    assert abs(x.var() - variance) < 4 * variance * np.sqrt(2 / x.size)
    correlations = np.corrcoef(x.T)[np.triu_indices(x.shape[1], 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(len(x))


def ladder(num_steps_each):
    return np.geomspace(LEVELS[0], LEVELS[-1], (len(LEVELS) - 1) * num_steps_each + 1)


@pytest.mark.parametrize("n", [1, 3])
def test_every_nth_point_of_a_ladder_is_a_level(n):
    each = tf.constant([n, n], tf.int32)
    assert ladder_length(5, n) == len(ladder(n)) == 4 * n + 1
    np.testing.assert_array_equal(ladder_length(5, tf.constant([0, n])), [0, 4 * n + 1])
    sigmas = np.array([ladder_sigma(SIGMAS.numpy(), each, k) for k in range(4 * n + 2)])
    np.testing.assert_allclose(sigmas[:-1:n], LEVELS[:, None].repeat(2, 1), rtol=1e-5)
    expected = np.append(ladder(n), LEVELS[-1])
    np.testing.assert_allclose(sigmas, expected[:, None].repeat(2, 1), rtol=1e-5)


@pytest.mark.parametrize("num_steps_each", [1, 5])
def test_possible_steps_of_consistent_annealing(num_steps_each):
    """b = sqrt(1 - ((1 - h) / g)^2) is 0 at both ends, g the ratio of neighbouring points."""
    ratio = ladder(num_steps_each)[1] / ladder(num_steps_each)[0]
    for step_lr in consistent_step_range(SIGMAS.numpy(), num_steps_each):
        share = (1 - step_lr / LEVELS[-1] ** 2) / ratio
        assert share**2 == pytest.approx(1.0, rel=1e-6)
    several = consistent_step_range(SIGMAS.numpy(), np.array([1, num_steps_each]))
    np.testing.assert_array_equal(
        [values[1] for values in several], consistent_step_range(SIGMAS.numpy(), num_steps_each)
    )


# --- consistent annealing ---


@pytest.mark.parametrize("num_steps_each", [1, 4])
@pytest.mark.parametrize("denoise", [False, True])
def test_consistent_annealing_follows_the_exact_recursion(num_steps_each, denoise):
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
    x = draw(ConsistentAnnealing(SIGMAS, denoise), COUNT, step_lr, num_steps_each)
    assert_law(x, mean, variance)


def test_consistent_annealing_is_consistent():
    """With a single clean image behind the score, each level's deviation is reached exactly."""

    def score(x, labels):
        return (MEAN - x) / sampling.column(tf.square(tf.gather(SIGMAS, labels)), x)

    chain = ConsistentAnnealing(SIGMAS)
    rows = Rows.fill(tf.range(COUNT, dtype=tf.int64), 0.9 * LEVELS[-1] ** 2, 1)
    noise = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)
    x = tf.constant(MEAN + LEVELS[0].astype(np.float32) * noise)
    for k in range(4):
        x = chain.advance(score, x, rows, k, k + 1)
        variance = LEVELS[k + 1] ** 2
        assert abs(np.var(x) - variance) < 4 * variance * np.sqrt(2 / noise.size)


# --- predictor-corrector ---


def pc_recursion(num_steps_each, corrector_size, predictor):
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
    chain = PredictorCorrector(SIGMAS, corrector_steps=0, predictor=predictor)
    assert_law(draw(chain, num_steps_each=3), *pc_recursion(3, None, predictor))


@pytest.mark.parametrize("predictor", ["reverse", "ancestral"])
def test_predictors_reach_the_marginal_of_the_reverse_sde(predictor):
    """Many small steps from N(1/2, sigma_1^2): nearly N(m, s^2 + sigma_L^2), and by the recursion
    just what they make of that start."""
    mean, variance = pc_recursion(200, None, predictor)
    exact = DEVIATION**2 + LEVELS[-1] ** 2
    assert abs(variance / exact - 1) < 0.02
    chain = PredictorCorrector(SIGMAS, corrector_steps=0, predictor=predictor)
    x = draw(chain, 2000, num_steps_each=200)
    assert_law(x, mean, variance)
    assert abs(x.var() / exact - 1) < 0.1


@pytest.mark.parametrize("predictor", ["reverse", "none"])
def test_the_corrector_follows_the_exact_recursion(predictor):
    chain = PredictorCorrector(SIGMAS, snr=0.3, predictor=predictor)
    size = lambda sigma: 2 * (0.3 * sigma) ** 2  # noqa: E731
    assert_law(draw(chain, num_steps_each=4), *pc_recursion(4, size, predictor))


def test_the_corrector_keeps_the_marginal_of_the_reverse_sde():
    """In four dimensions too, where steps by norms would end with 2.5 times the variance."""
    size = lambda sigma: 2 * (0.16 * sigma) ** 2  # noqa: E731
    mean, variance = pc_recursion(100, size, "reverse")
    exact = DEVIATION**2 + LEVELS[-1] ** 2
    assert abs(variance / exact - 1) < 0.01 and abs(mean - MEAN) < 0.01
    x = draw(PredictorCorrector(SIGMAS), 2500, num_steps_each=100)
    assert_law(x, mean, variance)
    assert_law(x, MEAN, exact)
    x = draw(PredictorCorrector(SIGMAS, corrector="langevin"), 2500, num_steps_each=100)
    assert x.var() > 2 * exact


def test_corrector_step_may_be_set_by_the_norms_of_each_image():
    chain = PredictorCorrector(SIGMAS, snr=0.1, predictor="none", corrector="langevin")
    rows = Rows.fill(tf.constant([5, 6], tf.int64), 0.0, 1)
    x = tf.constant([[0.0, 1, 2, 3], [4, 5, 6, 7]])
    moved = chain.step(GaussianScore(), x, rows, 0).numpy()
    noise = sampling.random.normal(rows.seeds, SHAPE, sampling.Stream.LANGEVIN, (0, 0)).numpy()
    score = (MEAN - x.numpy()) / (DEVIATION**2 + LEVELS[0] ** 2)
    norm = np.linalg.norm
    step = 2 * (0.1 * norm(noise, axis=1) / norm(score, axis=1))[:, None] ** 2
    np.testing.assert_allclose(moved, x + step * score + np.sqrt(2 * step) * noise, rtol=1e-5)


def test_several_corrections_use_fresh_noise():
    rows = Rows.fill(tf.range(3, dtype=tf.int64), 0.0, 1)
    x = tf.ones([3, 4])
    by_hand = x
    chain = PredictorCorrector(SIGMAS, corrector_steps=3, predictor="none")
    sigma = tf.fill([3], SIGMAS[0])
    for count in range(3):
        score = at_sigma(GaussianScore(), SIGMAS.numpy())
        by_hand = chain._correct(score, by_hand, rows, sigma, (0, count))
    moved = chain.step(GaussianScore(), x, rows, 0)
    np.testing.assert_allclose(moved, by_hand, rtol=1e-5)


def test_unknown_parts():
    with pytest.raises(ValueError, match="one of reverse, ancestral, none, not euler"):
        PredictorCorrector(SIGMAS, predictor="euler")
    with pytest.raises(ValueError, match="one of ald, langevin, not norm"):
        PredictorCorrector(SIGMAS, corrector="norm")


# --- probability flow ---


@pytest.mark.parametrize("tolerance, bound", [(1e-3, 3e-3), (1e-5, 1e-4)])
def test_probability_flow_is_exact_within_its_tolerance(tolerance, bound):
    chain = ProbabilityFlow(SIGMAS, rtol=tolerance, atol=tolerance)
    x = draw(chain, 200)
    start = chain.start(tf.range(200, dtype=tf.int64), SHAPE).y.numpy()
    shrink = np.sqrt((DEVIATION**2 + LEVELS[-1] ** 2) / (DEVIATION**2 + LEVELS[0] ** 2))
    np.testing.assert_allclose(x, MEAN + shrink * (start - MEAN), atol=bound)


def test_probability_flow_counts_its_evaluations():
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
def test_probability_flow_of_discrete_levels(jumps, bound):
    """By level c, x - m shrinks by exp(-c (a - b) / (s^2 + c^2)) where sigma falls from a to b."""
    chain = ProbabilityFlow(SIGMAS, rtol=1e-5, atol=1e-5, jumps=jumps)
    rows = Rows.fill(tf.range(20, dtype=tf.int64), 0.0, 1)
    discrete = lambda x, labels: GaussianScore()(x, labels)  # noqa: E731 (without at_sigma)
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


def test_probability_flow_needs_two_levels():
    with pytest.raises(ValueError, match="two noise levels"):
        ProbabilityFlow(geometric_sigmas(1.0, 1.0, 1))


# --- what all share ---

CHAINS = {
    "ald": AnnealedLangevin(SIGMAS, denoise=True),
    "cas": ConsistentAnnealing(SIGMAS, denoise=True),
    "pc": PredictorCorrector(SIGMAS, denoise=True, corrector_steps=2),
    "ode": ProbabilityFlow(SIGMAS, denoise=True, rtol=1e-3, atol=1e-3),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_row_depends_on_nothing_but_itself(name):
    """Alone, among others, with other numbers of steps beside it, in tiles: the same bits."""
    chain = CHAINS[name]
    rows = Rows.fill([3, 5, 8, 13, 21], [2e-3, 2e-3, 1e-3, 2e-3, 3e-3], [2, 1, 3, 2, 5])

    @tf.function(autograph=False, reduce_retracing=True)
    def run(rows):
        return sampling.draw(chain, GaussianScore(), rows, SHAPE, clip=False, tile=2)

    together = run(rows).numpy()
    assert np.isfinite(together).all()
    for index in range(5):
        alone = run(Rows(*(value[index : index + 1] for value in rows))).numpy()
        np.testing.assert_array_equal(alone[0], together[index])
    uniform = run(Rows.fill(rows.seeds, 2e-3, 2)).numpy()
    np.testing.assert_array_equal(uniform[[0, 3]], together[[0, 3]])


@pytest.mark.parametrize("name", CHAINS)
def test_pieces_are_the_whole(name):
    chain = CHAINS[name]
    rows = Rows.fill(tf.range(3, dtype=tf.int64), 2e-3, 2)
    num_steps = chain.num_steps(2)

    @tf.function(autograph=False)
    def advance(state, start, stop):
        return chain.advance(GaussianScore(), state, rows, start, stop)

    first = chain.start(rows.seeds, SHAPE)
    whole = advance(first, tf.constant(0), tf.constant(num_steps))
    middle = advance(first, tf.constant(0), tf.constant(num_steps // 3))
    pieces = advance(middle, tf.constant(num_steps // 3), tf.constant(num_steps))
    np.testing.assert_array_equal(chain.images(pieces), chain.images(whole))
    assert not np.array_equal(chain.images(middle), chain.images(whole))


def test_evaluations_are_counted():
    assert CHAINS["ald"].num_evaluations(4) == 5 * 4 + 1
    assert CHAINS["cas"].num_evaluations(4) == 17 + 1
    assert CHAINS["cas"].num_evaluations(1) == 5 + 1
    # The predictor has nowhere to go from the last point.
    assert CHAINS["pc"].num_evaluations(4) == 17 * 2 + 16 + 1
    assert PredictorCorrector(SIGMAS, predictor="none").num_evaluations(4) == 17
    assert CHAINS["ode"].num_evaluations(4) is None


@pytest.mark.parametrize("name", ["ald", "cas", "pc"])
def test_the_count_is_that_of_the_calls(name):
    calls = []
    chain = CHAINS[name]
    rows = Rows.fill(tf.constant([1], tf.int64), 2e-3, 2)

    def score(x, labels):
        calls.append(1)
        return GaussianScore()(x, labels)

    sampling.draw(chain, score, rows, SHAPE)  # not compiled: every evaluation is a call
    assert len(calls) == chain.num_evaluations(2)


def test_between_levels_the_nearest_answers_rescaled():
    seen = []

    def score(x, labels):
        seen.append(labels.numpy())
        return tf.ones_like(x) * sampling.column(tf.gather([1.0, 2, 3, 4, 5], labels), x)

    sigma = np.array([2.0, 1.3, 0.3, 0.05, 1e-4, 50], np.float32)
    value = at_sigma(score, SIGMAS.numpy())(tf.zeros([6, 4]), tf.constant(sigma)).numpy()
    nearest = np.abs(np.log(sigma)[:, None] - np.log(LEVELS)).argmin(1)
    np.testing.assert_array_equal(seen[0], nearest)
    expected = (nearest + 1) * LEVELS[nearest] / sigma
    np.testing.assert_allclose(value, expected[:, None].repeat(4, 1), rtol=1e-5)


def test_sigmas_must_be_known():
    with pytest.raises(ValueError, match="known when the graph is made"):
        tf.function(lambda sigmas: AnnealedLangevin(sigmas).num_levels)(SIGMAS)


# --- by name ---


def test_make_chain_by_name():
    config = Config(denoise=True, snr=0.3, corrector_steps=2, predictor="none", ode_tolerance=1e-2)
    kinds = {"ald": AnnealedLangevin, "cas": ConsistentAnnealing, "pc": PredictorCorrector}
    kinds["ode"] = ProbabilityFlow
    for name, kind in kinds.items():
        chain = make_chain(dataclasses.replace(config, sampler=name))
        assert type(chain) is kind
        assert chain.denoise
        np.testing.assert_array_equal(chain.sigmas, geometric_sigmas(1.0, 0.01, 10))
    assert (chain.rtol, chain.atol, chain.jumps) == (1e-2, 1e-2, True)
    second = dataclasses.replace(config, model="ncsnv2", sampler="ode")
    assert not make_chain(second).jumps  # smooth between its levels
    pc = make_chain(dataclasses.replace(config, sampler="pc"))
    assert (pc.snr, pc.corrector_steps, pc.predictor, pc.corrector) == (0.3, 2, "none", "ald")
    pc = make_chain(dataclasses.replace(config, sampler="pc", corrector="langevin"))
    assert pc.corrector == "langevin"
    for given, expected in [({"ode_rtol": 1e-3}, (1e-3, 1e-2)), ({"ode_atol": 0.1}, (1e-2, 0.1))]:
        ode = make_chain(dataclasses.replace(config, sampler="ode", **given))
        assert (ode.rtol, ode.atol) == expected


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"sampler": "cas", "cas_step_lr": 3e-4},
            "of --sampler=cas must be between 5.1.*e-07 and 0.000[12].*_each=100, not 0.0003",
        ),
        ({"sampler": "cas", "cas_step_lr": 1e-7}, "must be between 5.1.*, not 1e-07"),
        *[
            (
                {"sampler": name, "num_levels": 1, "sigma_begin": 0.01},
                f"--sampler={name} needs at least two noise levels",
            )
            for name in ("cas", "pc", "ode")
        ],
    ],
)
def test_settings_that_a_sampler_cannot_use(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_chain(Config(**settings))


CIFAR10_V2 = Config(sampler="cas", sigma_begin=50.0, num_levels=232, step_lr=6.2e-6)


@pytest.mark.parametrize("num_steps_each, published", [(1, 5.6e-6), (5, 1.1e-6)])
def test_the_default_step_of_cas_is_the_published_one(num_steps_each, published):
    """And not the step of ald, which is there for another sampler."""
    own, lowest, highest = step_sizes(CIFAR10_V2, num_steps_each)
    assert own == pytest.approx(published, rel=0.04)
    assert lowest < own < highest
    given = dataclasses.replace(CIFAR10_V2, cas_step_lr=1.2e-6)
    own = step_sizes(given, np.array([1, 5]))[0]
    # Below what one step a level can take, it is the default again.
    assert own[0] == step_sizes(CIFAR10_V2, 1)[0] and own[1] == 1.2e-6
    coarse = dataclasses.replace(CIFAR10_V2, num_levels=3)  # 1.5 times the lowest: too high
    assert step_sizes(coarse, 1)[0] == pytest.approx(1e-4, rel=1e-6)
    assert step_sizes(dataclasses.replace(given, sampler="ald"), 3) == (6.2e-6, 0.0, np.inf)


@pytest.mark.parametrize("sampler, given", [("cas", "cas_step_lr"), (None, "step_lr")])
def test_a_step_size_of_the_command_line_is_the_samplers(sampler, given):
    run = dataclasses.replace(CIFAR10_V2, sampler="ald")
    config = ChainOptions(sampler=sampler, step_lr=2e-6).chain(run)
    expected = dataclasses.replace(run, sampler=sampler or "ald", **{given: 2e-6})
    assert config == expected
    assert ChainOptions(sampler="cas").chain(run) == CIFAR10_V2
