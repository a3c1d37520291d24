"""The objective that a run names, and its projections."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import losses
from ncsn_tf.compat import raw_variables
from ncsn_tf.config import Config
from ncsn_tf.networks import NCSN
from ncsn_tf.objectives import gaussian_projections, objective_loss, spherical_projections
from ncsn_tf.random import Stream, normal
from ncsn_tf.runtime import mirrored_strategy
from ncsn_tf.state import TrainingState
from ncsn_tf.step import TrainingStep, corrupt

CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    features=8,
    num_levels=3,
    batch_size=6,
    anneal_power=1.5,
    seed=5,
)
SIGMAS = tf.constant([1.0, 0.3, 0.05])
SEEDS = tf.fill([6], tf.constant(5, tf.int64))
COUNTERS = (tf.range(6), tf.constant(2, tf.int64))


def score_fn(x, labels):
    return tf.sin(x) * tf.cast(1 + labels, tf.float32)[:, None, None, None]


def batch():
    return tf.constant(np.random.default_rng(0).random((6, 8, 8, 1), dtype=np.float32))


def loss_of(**settings):
    config = dataclasses.replace(CONFIG, **settings)
    images, labels, noise = corrupt(batch(), SEEDS, COUNTERS, config)
    return objective_loss(score_fn, images, labels, noise, SIGMAS, SEEDS, COUNTERS, config)


def test_every_objective_is_the_formula_at_the_perturbed_images():
    images, labels, noise = corrupt(batch(), SEEDS, COUNTERS, CONFIG)
    level = tf.gather(SIGMAS, labels).numpy()
    weight = level**1.5
    x = (images + level[:, None, None, None] * noise).numpy().astype(np.float64).reshape(6, -1)
    factor = 1.0 + labels.numpy()[:, None]
    score, slope = np.sin(x) * factor, np.cos(x) * factor
    half = 0.5 * np.square(score).sum(1)
    dsm = 0.5 * np.square(score + noise.numpy().reshape(6, -1) / level[:, None]).sum(1)
    np.testing.assert_allclose(loss_of(), dsm * weight, rtol=1e-4)
    np.testing.assert_allclose(loss_of(objective="sm"), (half + slope.sum(1)) * weight, rtol=1e-4)

    v = gaussian_projections(SEEDS, 3, (64,), COUNTERS).numpy().astype(np.float64)
    expected = half + (v**2 * slope[:, None]).sum(2).mean(1)
    actual = loss_of(objective="ssm_vr", num_projections=3)
    np.testing.assert_allclose(actual, expected * weight, rtol=1e-4, atol=1e-5)
    v *= 8 / np.linalg.norm(v, axis=2, keepdims=True)
    along = 0.5 * np.square((v * score[:, None]).sum(2))
    expected = (along + (v**2 * slope[:, None]).sum(2)).mean(1)
    actual = loss_of(objective="ssm", num_projections=3)
    np.testing.assert_allclose(actual, expected * weight, rtol=1e-4, atol=1e-5)


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
def test_a_step_on_two_replicas_trains_the_objective():
    """Loss, gradient norm and movement of a compiled step against the definitions."""
    config = dataclasses.replace(
        CONFIG, objective="ssm_vr", num_projections=2, optimizer="SGD", learning_rate=1e-3
    )
    strategy = mirrored_strategy(["CPU:0", "CPU:1"])
    state = TrainingState(config, strategy)
    step = TrainingStep(state, config, strategy)
    counters = (tf.range(6), tf.constant(0, tf.int64))
    images, labels, noise = corrupt(batch(), SEEDS, counters, config)
    v = gaussian_projections(SEEDS, 2, (8, 8, 1), counters)
    x = images + tf.gather(step.sigmas, labels)[:, None, None, None] * noise
    with tf.GradientTape() as tape:
        per_example = losses.sliced_score_matching_vr(state.network, x, v, labels)
        per_example *= tf.gather(step.sigmas, labels) ** config.anneal_power
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
    images, labels, _ = corrupt(batch(), SEEDS, COUNTERS, CONFIG)
    v = gaussian_projections(SEEDS, 1, (8, 8, 1), COUNTERS)

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.sliced_score_matching_vr(network, images, v, labels))
        gradients = tape.gradient(loss, raw_variables(network))
        return tf.concat([tf.reshape(part, [-1]) for part in gradients], 0)

    first = gradient().numpy()
    for _ in range(20):
        np.testing.assert_array_equal(gradient(), first)
