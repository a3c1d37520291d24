"""Why score-based sampling needs noise: a mixture of two modes in the plane.

The experiments of Song & Ermon 2019 (arXiv:1907.05600), section 3.2 and figures 2 and 3, with the
numbers of the paper's appendix. All random numbers are functions of the seed.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf import losses
from ncsn_tf.backend import random
from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.backend.compat_optimizers import apply_gradients, build_optimizer
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Rows
from ncsn_tf.sampling.langevin import AnnealedLangevin
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.toy.densities import GaussianMixture
from ncsn_tf.training.objective import gaussian_projections
from ncsn_tf.training.optimizers import Adam

EXTENT = 8.0  # the plots and the starts of the chains are in [-8, 8]^2
DATA_MASS = 0.95  # share of the density in the region that counts as data
_GRID = 100  # points a side on which errors are measured
_BATCH = 128
_STEPS = 1000  # Langevin steps, in one level or over all
ANNEALED_SIGMAS = (20.0, 1.0, 10)  # largest and smallest sigma, number of levels
# The paper's toy code steps x + (a/2) s + sqrt(a) z with a = 0.1: half of that in our convention.
_STEP_LR = 0.1 / 2


def two_modes() -> GaussianMixture:
    """0.8 N((5, 5), I) + 0.2 N((-5, -5), I).

    Example:
        >>> print(two_modes().means.numpy())
        [[ 5.  5.]
         [-5. -5.]]
    """
    return GaussianMixture([0.8, 0.2], [[5.0, 5.0], [-5.0, -5.0]], 1.0)


def train_score_network(
    density: GaussianMixture, num_steps: int = 10_000, seed: int = 0
) -> keras.Model:
    """Fit a network to the score of a density in the plane, from draws alone.

    2-128-128-2 with softplus, sliced score matching with variance reduction and one normal
    projection, Adam with step size 1e-3, batches of 128.

    Returns:
        the network: x [B, 2] -> [B, 2].

    Example:
        >>> network = train_score_network(two_modes(), num_steps=2)
        >>> tuple(network(tf.zeros([3, 2])).shape)
        (3, 2)
    """
    keras.utils.set_random_seed(seed)
    # The layers' default initialisation in PyTorch, in which the experiment was first run.
    settings = {
        "kernel_initializer": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    }
    network = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Dense(128, "softplus", **settings),
            keras.layers.Dense(128, "softplus", **settings),
            keras.layers.Dense(2, **settings),
        ]
    )
    optimizer = Adam(1e-3, epsilon=1e-8)
    build_optimizer(optimizer, network.trainable_variables)
    # The complement of the seed: the chains never draw it.
    seeds = tf.fill([_BATCH], tf.constant(~seed, tf.int64))

    def train_step(step):
        counters = (tf.range(_BATCH), step)
        x = density.sample(seeds, counters)
        v = gaussian_projections(seeds, 1, (2,), counters)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.sliced_score_matching_vr(network, x, v))
        gradients = tape.gradient(loss, raw_variables(network))
        apply_gradients(optimizer, gradients, network.trainable_variables)
        return step + 1

    # One graph for all steps: a call takes longer than so small a step.
    @tf.function(autograph=False)
    def train(stop):
        tf.while_loop(lambda step: step < stop, train_step, [tf.constant(0)], parallel_iterations=1)

    train(tf.constant(num_steps))
    return network


def plane(points_a_side: int) -> np.ndarray:
    """The centres of the cells of a square grid over [-8, 8]^2, row by row: float32 [n * n, 2].

    Example:
        >>> plane(2).tolist()
        [[-4.0, -4.0], [4.0, -4.0], [-4.0, 4.0], [4.0, 4.0]]
    """
    axis = (np.arange(points_a_side) + 0.5) * (2 * EXTENT / points_a_side) - EXTENT
    return np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype(np.float32)


def data_threshold(density: GaussianMixture) -> float:
    """log p above which 95 % of the density's mass lies, from 20,000 draws.

    Example:
        >>> one = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
        >>> round(data_threshold(one), 1)  # log(0.05 / (2 pi)) = -4.83
        -4.8
    """
    draws = density.sample(np.arange(20_000, dtype=np.int64))
    return float(np.quantile(density.log_prob(draws), 1.0 - DATA_MASS))


def errors_by_region(
    score_fn: Callable[[np.ndarray], tf.Tensor], density: GaussianMixture
) -> dict[str, tuple[float, float, float]]:
    """How far a score function is from a density's score, where its data are and elsewhere.

    The data region is the smallest that holds 95 % of the mass; the rest is that of [-8, 8]^2.

    Returns:
        {"data" or "rest": (share of the area, mean of || s - s* ||^2, mean of || s* ||^2)}, means
        over the area of the region.

    Example:
        >>> density = two_modes()
        >>> errors = errors_by_region(lambda x: density.score(x) + [1.0, 0.0], density)
        >>> {name: round(error, 3) for name, (_, error, _) in errors.items()}
        {'data': 1.0, 'rest': 1.0}
    """
    x = plane(_GRID)
    true = density.score(x).numpy()
    error = np.square(score_fn(x) - true).sum(1)
    size = np.square(true).sum(1)
    is_data = density.log_prob(x).numpy() >= data_threshold(density)
    return {
        name: (float(region.mean()), float(error[region].mean()), float(size[region].mean()))
        for name, region in (("data", is_data), ("rest", ~is_data))
    }


def chain_seeds(num_samples: int, seed: int = 0) -> tf.Tensor:
    """Seeds of as many chains, int64 [num_samples]; those of another seed are all others.

    Example:
        >>> chain_seeds(3).numpy().tolist(), chain_seeds(2, seed=1).numpy().tolist()
        ([0, 1, 2], [4294967296, 4294967297])
    """
    return seed * 2**32 + tf.range(num_samples, dtype=tf.int64)


def langevin(density: GaussianMixture, seeds: tf.Tensor) -> tf.Tensor:
    """Langevin dynamics with the density's own score: 1000 steps from U[-8, 8)^2. [B, 2].

    Example:
        >>> tuple(langevin(two_modes(), chain_seeds(5)).shape)
        (5, 2)
    """
    return _chain(density, tf.zeros([1]), tf.ones([1]), seeds)


def annealed_langevin(density: GaussianMixture, seeds: tf.Tensor) -> tf.Tensor:
    """Annealed Langevin dynamics with the scores of the perturbed densities: [B, 2].

    Ten noise levels from 20 to 1, 100 steps each, from U[-8, 8)^2. The result is of the density
    perturbed with the last level.

    Example:
        >>> tuple(annealed_langevin(two_modes(), chain_seeds(5)).shape)
        (5, 2)
    """
    sigmas = geometric_sigmas(*ANNEALED_SIGMAS)
    return _chain(density, sigmas, sigmas, seeds)


def _chain(density, noise, sigmas, seeds):
    """Chains over the densities perturbed by `noise` [L], with the step sizes of `sigmas` [L]."""
    steps_each = _STEPS // sigmas.shape[0]

    @tf.function(autograph=False)
    def run(seeds):
        x = (2.0 * random.uniform(seeds, (2,), Stream.INITIAL_STATE) - 1.0) * EXTENT
        rows = Rows.fill(seeds, _STEP_LR, steps_each)
        chain = AnnealedLangevin(sigmas)
        return chain.advance(density.score_fn(noise), x, rows, 0, chain.num_steps(steps_each))

    return run(seeds)


def mode_weights(density: GaussianMixture, x: tf.Tensor, sigma: float = 0.0) -> np.ndarray:
    """Share of the samples that belong to each component of a mixture: float [K].

    Args:
        density: the mixture.
        x: float32 [B, D].
        sigma: of the noise in x.

    Example:
        >>> mode_weights(two_modes(), [[5.0, 4.0], [4.0, 5.0], [6.0, 6.0], [-5.0, -5.0]]).tolist()
        [0.75, 0.25]
    """
    nearest = np.argmax(density.responsibilities(x, sigma), 1)
    return np.bincount(nearest, minlength=density.weights.shape[0]) / len(nearest)
