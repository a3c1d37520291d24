"""The measures of benchmarks/samplers.py on samples whose law is known, and its choices."""

import math

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import samplers
from benchmarks.samplers import Bench, MixtureScore, energy_distance, mode_errors
from ncsn_tf.schedule import geometric_sigmas


def exact_draws(count, first_seed=0):
    density = samplers.two_modes().perturbed(samplers.MIXTURE_SIGMAS[1])
    return density.sample(tf.range(first_seed, first_seed + count, dtype=tf.int64)).numpy()


def test_exact_draws_have_no_mode_errors():
    weight, mean, deviation = mode_errors(exact_draws(5000))
    assert abs(weight - 0.8) < 4 * math.sqrt(0.16 / 5000)
    assert mean < 4 / math.sqrt(1000 * 16)
    assert abs(deviation - 1) < 4 / math.sqrt(2 * 5000 * 16)


def test_mode_errors_are_those_that_were_made():
    x = exact_draws(5000).astype(np.float64)
    first = x.mean(1) > 0.5
    deviation = samplers.true_deviation()
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


def test_every_sampler_approaches_the_mixture():
    sigmas = geometric_sigmas(*samplers.MIXTURE_SIGMAS).numpy()
    score_fn = MixtureScore(samplers.two_modes()).levels(sigmas)
    bench = Bench(score_fn, sigmas, (samplers.SIZE,), exact_draws(300, 10**6), 300, 0, clip=False)
    exact = exact_draws(1000, 2 * 10**6)
    results = list(bench.results((20, 200)))
    assert [result.name for result in results] == [*sorted(["ald", "cas", "pc"] * 2), *["ode"] * 3]
    assert [result.evaluations for result in results[:6]] == [20, 200] * 3
    assert results[6].evaluations < results[-1].evaluations
    distances = [energy_distance(result.samples, exact)[0] for result in results]
    assert all(result.samples.shape == (300, 16) for result in results)
    for few, many in ((0, 1), (2, 3), (4, 5), (6, 8)):
        assert distances[many] < distances[few] + 0.02
    assert max(distances[few] for few in (1, 3, 5, 8)) < 0.1
    assert results[0].setting.startswith("step_lr ")


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
