"""The measures of the samplers' benchmark on samples whose law is known, and its choices."""

import math
import statistics

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import samplers, solvers, two_modes
from benchmarks.energy import energy_distance
from benchmarks.samplers import Bench
from benchmarks.two_modes import MixtureScore, mode_errors
from ncsn_tf import sampling
from ncsn_tf.sampling import (
    ConsistentAnnealing,
    PredictorCorrector,
    ProbabilityFlow,
    Rows,
    consistent_step_range,
)
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.toy.densities import GaussianMixture


def exact_draws(count, first_seed=0):
    density = two_modes.density().perturbed(two_modes.SIGMAS[1])
    return density.sample(tf.range(first_seed, first_seed + count, dtype=tf.int64)).numpy()


def test_exact_draws_have_no_mode_errors():
    weight, mean, deviation = mode_errors(exact_draws(5000))
    assert abs(weight - 0.8) < 4 * math.sqrt(0.16 / 5000)
    assert mean < 4 / math.sqrt(1000 * 16)
    assert abs(deviation - 1) < 4 / math.sqrt(2 * 5000 * 16)


def test_mode_errors_are_those_that_were_made():
    x = exact_draws(5000).astype(np.float64)
    first = x.mean(1) > 0.5
    deviation = two_modes.true_deviation()
    shifted = np.where(first[:, None], x, x + 0.5 * deviation)  # one mode, by half a deviation
    assert mode_errors(shifted)[1] == pytest.approx(0.5, abs=0.05)
    centres = np.where(first[:, None], 0.7, 0.3)
    assert mode_errors(centres + 2 * (x - centres))[2] == pytest.approx(2.0, abs=0.02)
    assert mode_errors(np.concatenate([x, x[first]]))[0] == pytest.approx(8 / 9, abs=0.01)
    assert mode_errors(x[first])[0] == 1.0
    assert np.isnan(mode_errors(x[first])[1:]).all()


def test_energy_distance_by_hand():
    """Of {0, 2} and {1, 5}: 2 (1 + 5 + 1 + 3) / 4 - 2 - 4."""
    assert energy_distance([[0.0], [2.0]], [[1.0], [5.0]])[0] == pytest.approx(5.0 - 6.0)


def test_energy_distance_of_normal_densities():
    """E|X - Y| of N(d, 2) is known; the value is unbiased, its error that of repetitions."""
    rng = np.random.default_rng(0)
    between = 2 / math.sqrt(math.pi) * math.exp(-1 / 4) + math.erf(1 / 2)
    exact = 2 * (between - 2 / math.sqrt(math.pi))
    runs = [
        energy_distance(rng.normal(size=(40, 1)), rng.normal(1.0, size=(60, 1))) for _ in range(400)
    ]
    values, errors = np.transpose(runs)
    assert abs(values.mean() - exact) < 4 * values.std() / 20
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)
    null = [
        energy_distance(rng.normal(size=(40, 3)), rng.normal(size=(60, 3)))[0] for _ in range(400)
    ]
    assert abs(np.mean(null)) < 4 * np.std(null) / 20


def test_every_sampler_approaches_the_mixture(monkeypatch):
    monkeypatch.setattr(samplers, "TOLERANCES", (1e-1, 1e-4))
    sigmas = geometric_sigmas(*two_modes.SIGMAS).numpy()
    score_fn = MixtureScore(two_modes.density()).levels(sigmas)
    bench = Bench(score_fn, sigmas, (two_modes.SIZE,), exact_draws(300, 10**6), 300, 0, clip=False)
    exact = exact_draws(1000, 2 * 10**6)
    results = list(bench.results((20, 200)))
    assert [result.name for result in results] == [*sorted(["ald", "cas", "pc"] * 2), *["ode"] * 2]
    # ald: 10 n; cas: 9 n + 1; pc: that twice, but for the last prediction.
    assert [result.evaluations for result in results[:6]] == [20, 200, 19, 199, 19, 199]
    assert results[6].evaluations < results[-1].evaluations
    distances = [energy_distance(result.samples, exact)[0] for result in results]
    assert all(result.samples.shape == (300, 16) for result in results)
    for few, many in ((0, 1), (2, 3), (4, 5), (6, 7)):
        assert distances[many] < distances[few] + 0.02
    assert max(distances[few] for few in (1, 3, 5, 7)) < 0.1
    assert results[0].setting.startswith("step_lr ")


def errors_of(chain, step_lr, num_steps_each):
    """`mode_errors` of 2,000 samples: the weight's standard error is 0.009."""
    score_fn = MixtureScore(two_modes.density()).levels(chain.sigmas)
    rows = Rows.fill(tf.range(2000, dtype=tf.int64), step_lr, num_steps_each)
    draw = tf.function(
        lambda rows: sampling.draw(chain, score_fn, rows, (two_modes.SIZE,), clip=False),
        autograph=False,
    )
    return mode_errors(draw(rows))


def test_consistent_annealing_has_the_modes_weights_and_deviations():
    sigmas = geometric_sigmas(*two_modes.SIGMAS).numpy()
    step_lr = 4 * consistent_step_range(sigmas, 60)[0]
    weight, mean, deviation = errors_of(ConsistentAnnealing(sigmas), step_lr, 60)
    assert abs(weight - 0.8) < 0.03
    assert mean < 0.05 and abs(deviation - 1) < 0.05


@pytest.mark.parametrize(
    "predictor", ["reverse", pytest.param("ancestral", marks=pytest.mark.slow)]
)
def test_the_predictor_corrector_has_the_modes_weights_and_deviations(predictor):
    """The start around 1/2, and not around the mean of 0.62, costs 0.02 of the weight."""
    sigmas = geometric_sigmas(*two_modes.SIGMAS).numpy()
    weight, mean, deviation = errors_of(PredictorCorrector(sigmas, predictor=predictor), 0.0, 40)
    assert abs(weight - 0.78) < 0.03
    assert mean < 0.05 and abs(deviation - 1) < 0.05


def test_the_flow_is_the_monotone_map_of_the_mixture():
    """In one dimension its paths do not cross: F_L(x) = F_1(x_0), with F those of the densities."""
    weights, means, deviation = (0.8, 0.2), (0.7, 0.3), two_modes.DEVIATION
    density = GaussianMixture(weights, [[mean] for mean in means], deviation**2)
    sigmas = geometric_sigmas(*two_modes.SIGMAS).numpy()
    chain = ProbabilityFlow(sigmas, rtol=1e-5, atol=1e-5)
    rows = Rows.fill(tf.range(200, dtype=tf.int64), 0.0, 1)
    start = chain.start(rows.seeds, (1,))
    advance = tf.function(
        lambda: chain.advance(MixtureScore(density), start, rows, 0, chain.SEGMENTS),
        autograph=False,
    )
    x, x_0 = (state.y.numpy()[:, 0].astype(np.float64) for state in (advance(), start))

    def share(x, sigma):
        normal = np.vectorize(statistics.NormalDist(0.0, math.hypot(deviation, sigma)).cdf)
        return weights[0] * normal(x - means[0]) + weights[1] * normal(x - means[1])

    low, high = np.full(200, -5.0), np.full(200, 5.0)
    wanted = share(x_0, float(sigmas[0]))
    for _ in range(60):
        middle = (low + high) / 2
        is_low = share(middle, float(sigmas[-1])) < wanted
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    assert 0.1 < np.mean(x < 0.5) < 0.35
    np.testing.assert_allclose(x, low, atol=2e-3)
    assert np.median(np.abs(x - low)) < 5e-5


def test_the_best_step_size_is_taken_and_nan_is_none():
    bench = Bench(None, [1.0], (1,), np.zeros([3, 1]) + [[0.0], [0.1], [0.2]], 3, 5, clip=False)
    calls = []

    def run(seeds, size, steps):
        calls.append((list(seeds), size, steps))
        return np.array([[0.0], [0.1], [0.2]]) + (size - 2) if size < 9 else [[np.nan]] * 3, 7

    result = bench._best("ald", run, 4, [1.0, 2.5, 9.0])
    assert (result.setting, result.evaluations) == ("step_lr 2.5", 7)
    assert [call[0][0] for call in calls] == [8, 8, 8, 5]
    assert calls[-1] == ([5, 6, 7], 2.5, 4)


def test_solvers_of_the_flow_are_compared_with_its_solution():
    lines = solvers.table(solvers.mixture(), num_images=3)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    found = {(row[1], row[2]): (int(row[3]), float(row[4])) for row in rows}
    for name in ("own", "scipy RK45"):
        (few, rough), (many, fine) = found[name, "0.001"], found[name, "1e-05"]
        assert 20 < few < many < 150
        assert fine < 1e-3 < 0.1 and fine < rough < 0.1


def test_a_flow_with_jumps_is_solved_with_and_without_their_times(monkeypatch):
    sigmas = geometric_sigmas(1.0, 0.1, 3).numpy()
    score_fn = GaussianMixture([1.0], [[0.5, 0.5]], 0.01).score_fn(sigmas)
    problem = solvers.Problem("jumps", score_fn, sigmas, (2,), True)
    monkeypatch.setattr(solvers, "TOLERANCES", (1e-5,))
    lines = solvers.table(problem, num_images=2)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    found = {(row[1], row[2]): (int(row[3]), float(row[4])) for row in rows}
    known, not_named = found["own", "1e-05"], found["own, jumps not named", "1e-05"]
    assert known[0] < not_named[0] and known[1] < 1e-4
