"""A Gaussian whose score is known, at five levels or any sigma, and what chains make of it."""

import functools

import numpy as np
import tensorflow as tf

from ncsn_tf.sampling.chain import Rows, column, draw
from ncsn_tf.schedule import geometric_sigmas

MEAN, DEVIATION = 3.0, 0.3
SIGMAS = geometric_sigmas(2.0, 0.05, 5)
LEVELS = SIGMAS.numpy().astype(np.float64)
SHAPE = (4,)
COUNT = 20_000


class GaussianScore:
    """Of N(MEAN, DEVIATION^2) perturbed at a level, or at any sigma."""

    def __call__(self, x, levels):
        return self.at_sigma(x, tf.gather(SIGMAS, levels))

    def at_sigma(self, x, sigma):
        return (MEAN - x) / column(DEVIATION**2 + tf.square(sigma), x)


@functools.cache
def compiled(chain, tile=None):
    """rows -> draws, not clipped: one graph for a chain and all numbers of rows."""
    batch = [tf.TensorSpec([None], dtype) for dtype in (tf.int64, tf.float32, tf.int32)]

    def run(rows):
        return draw(chain, GaussianScore(), rows, SHAPE, clip=False, tile=tile)

    return tf.function(run, [Rows(*batch)], autograph=False)


def gaussian_draws(chain, count=COUNT, step_lr=1e-3, num_steps_each=1):
    """float64 [count, 4]."""
    rows = Rows.fill(tf.range(count, dtype=tf.int64), step_lr, num_steps_each)
    return compiled(chain)(rows).numpy().astype(np.float64)


def assert_law(x, mean, variance):
    """Within four standard errors; no two numbers of an image go together."""
    assert abs(x.mean() - mean) < 4 * np.sqrt(variance / x.size)
    assert abs(x.var() - variance) < 4 * variance * np.sqrt(2 / x.size)
    correlations = np.corrcoef(x.T)[np.triu_indices(x.shape[1], 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(len(x))


def ladder(num_steps_each):
    """The points of a chain that goes down the levels in that many steps each."""
    return np.geomspace(LEVELS[0], LEVELS[-1], (len(LEVELS) - 1) * num_steps_each + 1)
