"""Training on an equation: what is drawn for each example, and the rules of the updates."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf import losses
from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.errors import ConfigError
from ncsn_tf.schedule.sde import VE, VP, SubVP, score_fn_of
from ncsn_tf.training.diffusion_objective import DiffusionObjective
from ncsn_tf.training.optimizers import clip_share, warmed_up
from ncsn_tf.training.state import average_decay

SEEDS, COUNTERS = tf.fill([6], tf.constant(11, tf.int64)), (tf.range(6), 3)
IMAGES = tf.constant(np.random.default_rng(0).uniform(size=[6, 4, 4, 1]), tf.float32)
network = lambda x, condition: tf.sin(x)  # noqa: E731


@pytest.mark.parametrize("sde", [VE(), VP(), SubVP()], ids=["ve", "vp", "subvp"])
@pytest.mark.parametrize("weighting", [False, True])
def test_continuous_times(sde, weighting):
    """The draws are those of the stream's addresses; the loss is that of `losses`."""
    objective = DiffusionObjective(sde, True, weighting, reduce_mean=True, centered=True)
    values, steps = objective.per_example(network, IMAGES, SEEDS, COUNTERS)
    t = losses.times_of(SEEDS, COUNTERS)
    z = random.normal(SEEDS, (4, 4, 1), Stream.PERTURBATION, COUNTERS)
    score_fn = score_fn_of(network, sde, True)
    expected = losses.diffusion_matching(score_fn, sde, 2 * IMAGES - 1, t, z, weighting, True)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(steps, sde.index(t))
    assert len(np.unique(steps)) > 3


@pytest.mark.parametrize(
    "sde, loss", [(VE(), losses.level_matching), (VP(), losses.noise_matching)], ids=["ve", "vp"]
)
def test_discrete_steps(sde, loss):
    values, steps = DiffusionObjective(sde, False).per_example(network, IMAGES, SEEDS, COUNTERS)
    np.testing.assert_array_equal(steps, random.integers(SEEDS, 1000, Stream.LEVEL, COUNTERS))
    z = random.normal(SEEDS, (4, 4, 1), Stream.PERTURBATION, COUNTERS)
    np.testing.assert_array_equal(values, loss(network, sde, IMAGES, steps, z))


def test_an_example_has_the_same_loss_in_any_batch():
    objective = DiffusionObjective(VP())
    whole, _ = objective.per_example(network, IMAGES, SEEDS, COUNTERS)
    part, _ = objective.per_example(network, IMAGES[4:], SEEDS[4:], (tf.constant([4, 5]), 3))
    np.testing.assert_array_equal(part, whole[4:])
    later, _ = objective.per_example(network, IMAGES, SEEDS, (tf.range(6), 4))
    assert np.all(later != whole)


def test_refused():
    with pytest.raises(ConfigError, match="sub-VP SDE is trained on continuous times only"):
        DiffusionObjective(SubVP(), continuous=False)
    with pytest.raises(ConfigError, match="likelihood weighting is for"):
        DiffusionObjective(VE(), continuous=False, likelihood_weighting=True)


def test_the_first_update_has_no_step_size():
    rates = [float(warmed_up(2e-4, tf.constant(step), 2)) for step in range(4)]
    np.testing.assert_allclose(rates, [0.0, 1e-4, 2e-4, 2e-4], rtol=1e-6)


def test_without_warmup_the_step_size_is_whole_at_once():
    assert float(warmed_up(1e-3, tf.constant(0), 0)) == np.float32(1e-3)


def test_long_gradients_are_clipped_and_short_ones_kept():
    gradient = tf.constant([3.0, 4.0])
    clipped = gradient * clip_share(tf.norm(gradient), 1.0)
    np.testing.assert_allclose(tf.norm(clipped), 5 / (5 + 1e-6), rtol=1e-6)
    assert float(clip_share(tf.constant(0.0), 1.0)) == 1.0


def test_the_average_begins_fast():
    decays = [float(average_decay(0.999, tf.constant(n))) for n in (1, 2, 8990, 8991, 10**6)]
    np.testing.assert_allclose(decays, [2 / 11, 3 / 12, 8991 / 9000, 0.999, 0.999], rtol=1e-6)
