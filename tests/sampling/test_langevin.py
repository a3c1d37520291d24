"""Annealed Langevin dynamics against exact recursions; every image depends on its seed alone."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.models.networks import NCSN
from ncsn_tf.sampling.chain import Rows, initial_state
from ncsn_tf.sampling.langevin import AnnealedLangevin, annealed_langevin
from ncsn_tf.schedule import geometric_sigmas

# --- laws: scores known exactly ---

MEAN, DEVIATION = 3.0, 0.3
SIGMAS = geometric_sigmas(1.0, 0.1, 4)
STEP_LR, STEPS = 3e-3, 5


def gaussian_score(x, levels):
    """Of N(MEAN, DEVIATION^2) perturbed at each image's level."""
    variance = DEVIATION**2 + tf.square(tf.gather(SIGMAS, levels))
    return (MEAN - x) / tf.reshape(variance, [-1] + [1] * (x.shape.rank - 1))


def draw_gaussian(count, image_shape=(2,), **options):
    seeds = tf.range(count, dtype=tf.int64)
    return annealed_langevin(gaussian_score, seeds, image_shape, SIGMAS, STEP_LR, STEPS, **options)


def test_mean_and_variance_follow_the_exact_recursion():
    """The chain is far from stationary: half the step, another start or order would show."""
    mean, variance = 0.5, 1 / 12
    for sigma in SIGMAS.numpy().astype(np.float64):
        step = STEP_LR * (sigma / float(SIGMAS[-1])) ** 2
        shrink = 1 - step / (DEVIATION**2 + sigma**2)
        for _ in range(STEPS):
            mean = MEAN + shrink * (mean - MEAN)
            variance = shrink**2 * variance + 2 * step
    x = draw_gaussian(20_000, clip=False).numpy().astype(np.float64)
    assert x.shape == (20_000, 2)
    assert abs(x.mean() - mean) < 4 * np.sqrt(variance / x.size)
    assert abs(x.var() - variance) < 4 * variance * np.sqrt(2 / x.size)
    assert abs(np.corrcoef(x.T)[0, 1]) < 4 / np.sqrt(len(x))


def test_clip_comes_at_the_end():
    free = draw_gaussian(500, clip=False)
    assert np.mean((free > 0) & (free < 1)) < 0.1
    np.testing.assert_array_equal(draw_gaussian(500), np.clip(free, 0, 1))
    np.testing.assert_array_equal(draw_gaussian(500, clip=True), np.clip(free, 0, 1))


def test_denoising_is_a_last_step_without_noise():
    noisy = draw_gaussian(50, clip=False)
    last = float(SIGMAS[-1]) ** 2
    expected = noisy + last * (MEAN - noisy) / (DEVIATION**2 + last)
    denoised = draw_gaussian(50, clip=False, denoise=True)
    np.testing.assert_allclose(denoised, expected, rtol=1e-6)
    assert np.abs(denoised - noisy).max() > 0.03


def test_annealing_gets_the_weights_of_far_modes_right():
    """80 % at -4, 20 % at 4. The start in [0, 1] is nearer to the lesser mode."""
    ladder = geometric_sigmas(10.0, 0.5, 10)

    def mixture_score(sigmas):
        def score(x, levels):
            variance = (0.25 + tf.square(tf.gather(sigmas, levels)))[:, None]
            log_odds = np.log(0.8 / 0.2) - 8 * x / variance
            share = tf.sigmoid(log_odds)  # of the mode at -4
            return (-4 * share + 4 * (1 - share) - x) / variance

        return score

    def share_of_the_greater_mode(sigmas, steps):
        @tf.function(autograph=False)
        def draw(seeds):
            score = mixture_score(sigmas)
            settings = (seeds, (1,), sigmas, 0.025, steps)
            return annealed_langevin(score, *settings, clip=False)

        x = draw(tf.range(4000, dtype=tf.int64))
        return tf.reduce_mean(tf.cast(x < 0, tf.float32))

    annealed = float(share_of_the_greater_mode(ladder, 20))
    assert abs(annealed - 0.8) < 0.04
    assert float(share_of_the_greater_mode(ladder[-1:], 200)) < 0.3


@pytest.mark.parametrize("num_levels", [128, 129, 300])
def test_a_function_may_capture_any_number_of_levels(num_levels):
    sigmas = geometric_sigmas(50.0, 0.01, num_levels)

    def draw(seeds):
        settings = (seeds, (2,), sigmas, 2e-5, 1)
        return annealed_langevin(lambda x, levels: -x, *settings)

    seeds = tf.range(2, dtype=tf.int64)
    compiled = tf.function(draw, autograph=False)
    np.testing.assert_allclose(compiled(seeds), draw(seeds), atol=1e-4)


# --- reproducibility: a network's rounding depends on the batch, an image must not ---

TILE = 4
NETWORK_SIGMAS = geometric_sigmas(1.0, 0.1, 2)


@pytest.fixture(scope="module")
def network():
    """Channels that fill vector units: with 6 features, say, the place in the tile would show."""
    return NCSN((8, 8, 1), features=8, num_levels=2)


@pytest.fixture(scope="module")
def draw(network):
    """seeds [any] -> images, compiled once."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
    def draw(seeds):
        return annealed_langevin(
            network, seeds, (8, 8, 1), NETWORK_SIGMAS, 1e-2, 2, clip=False, tile=TILE
        )

    return draw


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_an_image_depends_on_its_seed_alone(draw, count):
    seeds = np.array([5, -9, 2**40, 11, 3, 7, 8, 1, 0], np.int64)
    everything = draw(seeds).numpy()
    assert everything.shape == (9, 8, 8, 1)
    assert len(np.unique(everything.reshape(9, -1), axis=0)) == 9
    np.testing.assert_array_equal(draw(seeds[:count]), everything[:count])
    np.testing.assert_array_equal(draw(seeds[::-1][:count].copy()), everything[::-1][:count])
    np.testing.assert_array_equal(draw(seeds[count:]), everything[count:])
    strangers = np.concatenate([[100], seeds[:count], [200, 300]])
    np.testing.assert_array_equal(draw(strangers)[1:-2], everything[:count])


def test_tiles_change_rounding_only(network, draw):
    seeds = tf.constant([5, -9, 11], tf.int64)
    whole = annealed_langevin(network, seeds, (8, 8, 1), NETWORK_SIGMAS, 1e-2, 2, clip=False)
    np.testing.assert_allclose(draw(seeds), whole, atol=2e-5)


def test_a_chain_in_pieces_is_the_chain_at_once(network, draw):
    seeds = tf.constant([5, -9, 11, 3], tf.int64)
    chain = AnnealedLangevin(NETWORK_SIGMAS)

    @tf.function(autograph=False)
    def steps(x, start, stop):
        rows = Rows.fill(seeds, 1e-2, 2)
        return chain.advance(network, x, rows, start, stop)

    def run(*stops):
        x = initial_state(seeds, (8, 8, 1))
        for start, stop in zip((0, *stops), stops, strict=False):
            x = steps(x, tf.constant(start), tf.constant(stop))
        return x.numpy()

    at_once = run(4)
    for stops in ((1, 4), (2, 4), (1, 2, 2, 3, 4)):
        np.testing.assert_array_equal(run(*stops), at_once)
    assert np.any(run(3) != at_once)
    np.testing.assert_array_equal(draw(seeds), at_once)


# --- graph ---


def test_graph_does_not_grow_with_the_steps():
    def nodes(steps):
        @tf.function(autograph=False)
        def draw(seeds):
            settings = (seeds, (2,), SIGMAS, STEP_LR, steps)
            return annealed_langevin(gaussian_score, *settings, tile=2)

        seeds = tf.TensorSpec([3], tf.int64)
        graph = draw.get_concrete_function(seeds).graph.as_graph_def()
        return len(graph.node) + sum(len(fn.node_def) for fn in graph.library.function)

    assert nodes(1) == nodes(1000) < 1500
