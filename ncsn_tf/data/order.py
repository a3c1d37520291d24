"""The order of training: which example has which place, and which are mirrored."""

import tensorflow as tf

from ncsn_tf.backend import random

# With index_shuffle's 4 rounds neighbouring epochs have nearly the same order (their correlation
# is 0.9 at N = 60,000).
_SHUFFLE_ROUNDS = 16


def positions(step: int | tf.Tensor, batch_size: int) -> tf.Tensor:
    """Global positions of the examples of batch `step`: int64 [B]."""
    return step * batch_size + tf.range(batch_size, dtype=tf.int64)


def shuffled(positions: tf.Tensor, num_examples: int, seed: int) -> tf.Tensor:
    """The example at each global position: int64 [B] in [0, num_examples)."""
    epochs = tf.cast(positions // num_examples, tf.uint32)
    low, high = (tf.constant(seed >> shift & 0xFFFFFFFF, tf.uint32) for shift in (0, 32))
    return tf.raw_ops.RandomIndexShuffle(
        index=positions % num_examples,
        seed=tf.stack([tf.fill(epochs.shape, low), tf.fill(epochs.shape, high), epochs], axis=1),
        max_index=tf.constant(num_examples - 1, tf.int64),
        rounds=_SHUFFLE_ROUNDS,
    )


def flip_coins(seed: int, positions: tf.Tensor) -> tf.Tensor:
    """A fair coin for each global position: bool [B]."""
    seeds = tf.fill(positions.shape, tf.constant(seed, tf.int64))
    counters = (positions, tf.bitwise.right_shift(positions, tf.constant(32, tf.int64)))
    words = random.random_words(seeds, 1, random.Stream.FLIP, counters)  # [B, 1]
    return tf.bitwise.bitwise_and(words[:, 0], tf.constant(1, tf.uint32)) == 1
