"""The noise of dropout, addressed as all noise of training is."""

import functools
from collections.abc import Callable

import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream

_POSITIONS = 2**20  # examples of a global batch, at most: the block's number is above theirs


def dropout_noise(seeds: tf.Tensor, positions: tf.Tensor, step: tf.Tensor) -> Callable:
    """A network's `dropout_noise`: (number of a block, shape) -> numbers uniform in [0, 1).

    Those of an example are a function of the run's seed, the training step, the example's place in
    the global batch and the block: neither replicas nor tiles nor an interruption change them, and
    a block that is computed again for the gradient has the same.

    Args:
        seeds: int64 [B], the run's seed.
        positions: int32 [B], index of each example in the global batch.
        step: int64, the training step.

    Example:
        >>> noise = dropout_noise(tf.constant([5, 5], tf.int64), tf.range(2), tf.constant(0))
        >>> first, again, other = noise(3, (2, 8, 8, 4)), noise(3, (2, 8, 8, 4)), noise(4, (2, 4))
        >>> bool(tf.reduce_all(first == again)), tuple(other.shape)
        (True, (2, 4))
    """

    def noise(index, shape):
        places = tf.cast(positions, tf.int64) + index * _POSITIONS
        return _uniform(tuple(shape[1:]))(seeds, places, tf.cast(step, tf.int64))

    return noise


@functools.cache
def _uniform(shape):
    """The draw for one shape: a graph that is made once, however many blocks have it."""
    return tf.function(
        lambda seeds, places, step: random.uniform(seeds, shape, Stream.DROPOUT, (places, step)),
        autograph=False,
    )
