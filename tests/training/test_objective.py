"""The objective that a run names, the perturbation of its images, and its projections."""

import numpy as np
import pytest
import tensorflow as tf
from training_helpers import TinyNetwork

from ncsn_tf import losses
from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.backend.random import Stream, normal
from ncsn_tf.models.networks import NCSN
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.training import state as state_module
from ncsn_tf.training.objective import (
    Objective,
    Perturbation,
    gaussian_projections,
    objective_of,
    spherical_projections,
)
from ncsn_tf.training.state import TrainingState
from ncsn_tf.training.step import TrainingStep

SIGMAS = tf.constant([1.0, 0.3, 0.05])
SEEDS = tf.fill([6], tf.constant(5, tf.int64))
COUNTERS = (tf.range(6), tf.constant(2, tf.int64))


PERTURBATION = Perturbation(SIGMAS, dequantize=True)


def score_fn(x, levels):
    return tf.sin(x) * tf.cast(1 + levels, tf.float32)[:, None, None, None]


def batch():
    return tf.constant(np.random.default_rng(0).random((6, 8, 8, 1), dtype=np.float32))


def loss_of(name, num_projections=1):
    objective = Objective(name, PERTURBATION, anneal_power=1.5, num_projections=num_projections)
    return objective.per_example(score_fn, batch(), SEEDS, COUNTERS)[0]


def test_every_objective_is_the_formula_at_the_perturbed_images():
    images, levels, noise = PERTURBATION.choose(batch(), SEEDS, COUNTERS)
    sigma = tf.gather(SIGMAS, levels).numpy()
    weight = sigma**1.5
    x = (images + sigma[:, None, None, None] * noise).numpy().astype(np.float64).reshape(6, -1)
    factor = 1.0 + levels.numpy()[:, None]
    score, slope = np.sin(x) * factor, np.cos(x) * factor
    half = 0.5 * np.square(score).sum(1)
    dsm = 0.5 * np.square(score + noise.numpy().reshape(6, -1) / sigma[:, None]).sum(1)
    np.testing.assert_allclose(loss_of("dsm"), dsm * weight, rtol=1e-4)
    np.testing.assert_allclose(loss_of("sm"), (half + slope.sum(1)) * weight, rtol=1e-4)

    v = gaussian_projections(SEEDS, 3, (64,), COUNTERS).numpy().astype(np.float64)
    expected = half + (v**2 * slope[:, None]).sum(2).mean(1)
    actual = loss_of("ssm_vr", num_projections=3)
    np.testing.assert_allclose(actual, expected * weight, rtol=1e-4, atol=1e-5)
    v *= 8 / np.linalg.norm(v, axis=2, keepdims=True)
    along = 0.5 * np.square((v * score[:, None]).sum(2))
    expected = (along + (v**2 * slope[:, None]).sum(2)).mean(1)
    actual = loss_of("ssm", num_projections=3)
    np.testing.assert_allclose(actual, expected * weight, rtol=1e-4, atol=1e-5)


def test_the_levels_of_the_losses_are_those_of_the_perturbation():
    _, levels, _ = PERTURBATION.choose(batch(), SEEDS, COUNTERS)
    for name in ("dsm", "ssm"):
        _, used = Objective(name, PERTURBATION).per_example(score_fn, batch(), SEEDS, COUNTERS)
        np.testing.assert_array_equal(used, levels)


def test_the_objective_of_a_run_has_its_settings(tiny_config):
    settings = {"objective": "ssm_vr", "num_projections": 2, "anneal_power": 1.5}
    objective = objective_of(tiny_config(dequantize=False, sigma_begin=0.5, **settings))
    assert (objective.name, objective.num_projections, objective.anneal_power) == ("ssm_vr", 2, 1.5)
    assert not objective.perturbation.dequantize
    np.testing.assert_array_equal(objective.perturbation.sigmas, geometric_sigmas(0.5, 0.01, 3))


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="an objective is dsm, ssm, ssm_vr or sm, not 'nce'"):
        Objective("nce", PERTURBATION)


# --- perturbation ---


def choose(seeds, positions, step, dequantize=True):
    """What grey images are perturbed with, of three levels: [images, levels, noise]."""
    images = tf.fill([len(positions), 8, 8, 1], 0.5)
    counters = (tf.constant(positions), tf.constant(step, tf.int64))
    perturbation = Perturbation(SIGMAS, dequantize)
    parts = perturbation.choose(images, tf.constant(seeds, tf.int64), counters)
    return [part.numpy() for part in parts]


def test_a_perturbation_depends_on_seed_step_and_position_only():
    whole = choose([5] * 8, list(range(8)), 3)
    for start, stop in [(0, 4), (4, 8), (6, 7)]:
        part = choose([5] * (stop - start), list(range(start, stop)), 3)
        for values, expected in zip(part, whole, strict=True):
            np.testing.assert_array_equal(values, expected[start:stop])
    images, levels, noise = whole
    for other in (choose([6] * 8, list(range(8)), 3), choose([5] * 8, list(range(8)), 4)):
        assert not np.any(other[2] == noise)
        assert np.any(other[1] != levels)
        assert np.mean(other[0] == images) < 0.01
    assert len(np.unique(noise)) == noise.size  # no example's noise is another's


def test_a_perturbation_has_the_right_distributions():
    images, levels, noise = choose([1] * 3000, list(range(3000)), 0)
    grain = images * 256 - 0.5 * 255
    assert grain.min() >= -1e-4
    assert grain.max() <= 1 + 1e-4
    assert abs(grain.mean() - 0.5) < 0.01
    assert np.all(np.abs(np.bincount(levels, minlength=3) - 1000) < 5 * np.sqrt(3000 * 2 / 9))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    images, _, _ = choose([1] * 2, [0, 1], 0, dequantize=False)
    np.testing.assert_array_equal(images, 0.5)


def test_perturbed_images_have_the_noise_of_their_levels():
    images = tf.zeros([500, 8, 8, 1])
    seeds = tf.zeros([500], tf.int64)

    def perturb(step):
        counters = (tf.range(500), tf.constant(step, tf.int64))
        return Perturbation(SIGMAS, dequantize=False).perturb(images, seeds, counters)

    x, levels = perturb(7)
    for level, sigma in enumerate(SIGMAS.numpy()):
        chosen = x.numpy()[levels.numpy() == level]
        assert len(chosen) > 100
        assert chosen.std() == pytest.approx(sigma, rel=0.05)
    again, _ = perturb(8)
    assert not np.array_equal(x, again)


# --- projections ---


@pytest.mark.parametrize("draw", [gaussian_projections, spherical_projections])
def test_projections_have_the_identity_as_second_moment(draw):
    count = 20_000
    v = draw(tf.range(count, dtype=tf.int64), 2, (3, 1)).numpy().astype(np.float64)
    assert v.shape == (count, 2, 3, 1)
    v = v.reshape(-1, 6)  # both projections: those of one example are independent too
    products = v[:, :, None] * v[:, None, :]
    error = np.abs(products.mean(0) - np.eye(6))
    assert np.all(error < 4.5 * products.std(0) / np.sqrt(count))


def test_spherical_projections_are_on_the_sphere():
    v = spherical_projections(SEEDS, 4, (2, 3)).numpy()
    np.testing.assert_allclose(np.square(v).sum((2, 3)), 6.0, rtol=1e-5)


def test_projections_depend_on_seed_step_and_position_only():
    whole = gaussian_projections(SEEDS, 2, (4,), COUNTERS).numpy()
    part = gaussian_projections(SEEDS[3:], 2, (4,), (COUNTERS[0][3:], COUNTERS[1])).numpy()
    np.testing.assert_array_equal(part, whole[3:])
    assert len(np.unique(whole)) == whole.size
    later = gaussian_projections(SEEDS, 2, (4,), (COUNTERS[0], COUNTERS[1] + 1)).numpy()
    assert not np.any(later == whole)
    noise = normal(SEEDS, (2, 4), Stream.PERTURBATION, COUNTERS).numpy()
    assert not np.any(noise == whole)


@pytest.mark.slow
def test_a_step_on_two_replicas_trains_the_objective(tiny_config, monkeypatch):
    """Loss, gradient norm and movement of a compiled step against the definitions."""
    monkeypatch.setattr(state_module, "build_network", TinyNetwork)
    config = tiny_config(
        batch_size=6,
        anneal_power=1.5,
        seed=5,
        objective="ssm_vr",
        num_projections=2,
        optimizer="SGD",
        learning_rate=1e-3,
    )
    strategy = mirrored_strategy(["CPU:0", "CPU:1"])
    state = TrainingState(config, strategy)
    step = TrainingStep(state, config, strategy)
    counters = (tf.range(6), tf.constant(0, tf.int64))
    sigmas = geometric_sigmas(config.sigma_begin, config.sigma_end, config.num_levels)
    images, levels, noise = Perturbation(sigmas, True).choose(batch(), SEEDS, counters)
    v = gaussian_projections(SEEDS, 2, (8, 8, 1), counters)
    sigma = tf.gather(sigmas, levels)
    x = images + sigma[:, None, None, None] * noise
    with tf.GradientTape() as tape:
        per_example = losses.sliced_score_matching_vr(state.network, x, v, levels)
        per_example *= sigma**config.anneal_power
        mean = tf.reduce_mean(per_example)
    weights = raw_variables(state.network)
    gradient = state.weights.flatten(tape.gradient(mean, weights)).numpy()
    before = state.weights.vector.numpy()

    parts = np.split(batch().numpy(), 2)
    step.run(
        strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )
    )
    loss, norm, _ = step.totals.report()
    assert loss == pytest.approx(float(mean), rel=1e-3)
    assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-3)
    moved = state.weights.vector.numpy() - before
    error = np.linalg.norm(moved + 1e-3 * gradient)
    assert error < 2e-3 * np.linalg.norm(moved)


@pytest.mark.slow
def test_second_derivatives_round_alike_in_every_run():
    """Or a resumed run would be another one: threads must not decide the order of a sum."""
    network = NCSN((8, 8, 1), features=8, num_levels=3)
    images, levels, _ = PERTURBATION.choose(batch(), SEEDS, COUNTERS)
    v = gaussian_projections(SEEDS, 1, (8, 8, 1), COUNTERS)

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.sliced_score_matching_vr(network, images, v, levels))
        gradients = tape.gradient(loss, raw_variables(network))
        return tf.concat([tf.reshape(part, [-1]) for part in gradients], 0)

    first = gradient().numpy()
    for _ in range(20):
        np.testing.assert_array_equal(gradient(), first)
