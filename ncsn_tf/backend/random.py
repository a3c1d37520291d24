"""Counter-based random numbers: noise that depends on a seed and a position, and on nothing else.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") in unsigned
TensorFlow operations. TensorFlow's own stateless generators answer differently under XLA than
without it, and draw a batch as one block, so that an image's noise would depend on its neighbours;
this stream does neither.

A draw is addressed by a 64-bit key (the seed) and a 128-bit counter (block, two counters, stream):
* sampling:  seed = the image's own seed, counters = (level, step within the level);
* training:  seed = the run's seed, counters = (index of the example in the global batch, training
step).
"""

import enum
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORDS_PER_BLOCK = 4
# Vector units and their scalar tails round logarithms differently: whole vectors an image keep it
# reproducible.
_BLOCKS_PER_VECTOR = 16


# What addresses a draw beside its stream: int64 [B] seeds, two counters.
Seeds = Sequence[int] | np.ndarray | tf.Tensor
Counters = tuple[int | tf.Tensor, int | tf.Tensor]


class Stream(enum.IntEnum):
    """What a draw is for. Streams with different numbers never share a counter.

    Example:
        >>> first, second = (uniform([7], (1,), stream) for stream in (Stream.LEVEL, Stream.FLIP))
        >>> bool(tf.reduce_all(first == second))
        False
    """

    INITIAL_STATE = 0
    LANGEVIN = 1
    LEVEL = 2
    PERTURBATION = 3
    DEQUANTIZATION = 4
    FLIP = 5
    PROJECTION = 6
    PREDICTOR = 7
    PROBE = 8
    MEASUREMENT = 9
    DROPOUT = 10
    LABEL_DROPOUT = 11


def philox4x32(
    counter: Sequence[tf.Tensor], key: Sequence[tf.Tensor], rounds: int = 10
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """One Philox4x32 block.

    Args:
        counter: four uint32 tensors of one shape (or broadcastable).
        key: two uint32 tensors, broadcastable against the counter.
        rounds: 10 for the standard generator.

    Returns:
        four uint32 tensors.

    Source: Salmon, Moraes, Dror & Shaw, SC 2011, section 3.3; constants of Random123.

    Example:
        >>> zero = tf.constant(0, tf.uint32)
        >>> [hex(int(word)) for word in philox4x32([zero] * 4, [zero] * 2)]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for index in range(rounds):
        if index:
            k0 = k0 + tf.constant(_WEYL[0], tf.uint32)
            k1 = k1 + tf.constant(_WEYL[1], tf.uint32)
        high0, low0 = _multiply(_MULTIPLIERS[0], c0)
        high1, low1 = _multiply(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def random_words(
    seeds: Seeds, num_words: int, stream: Stream, counters: Counters = (0, 0)
) -> tf.Tensor:
    """Random 32-bit words for each seed.

    Args:
        seeds: int64 [B], any values.
        num_words: words a seed, a Python integer.
        stream: a `Stream`.
        counters: two integers or integer tensors, scalars or [B]; taken modulo 2**32.

    Returns:
        uint32 [B, num_words]. Row b is a function of (seeds[b], stream, counters[b]) alone.

    Example:
        >>> words = random_words([7, 8], 3, Stream.PROBE)
        >>> tuple(words.shape), bool(tf.reduce_all(words[1] == random_words([8], 3, Stream.PROBE)))
        ((2, 3), True)
    """
    num_blocks = math.ceil(num_words / _WORDS_PER_BLOCK)
    padded = math.ceil(num_blocks / _BLOCKS_PER_VECTOR) * _BLOCKS_PER_VECTOR
    words = tf.stack(_blocks(seeds, padded, stream, counters), axis=-1)  # [B, padded, 4]
    return tf.reshape(words, [-1, padded * _WORDS_PER_BLOCK])[:, :num_words]


def uniform(
    seeds: Seeds, shape: tuple[int, ...], stream: Stream, counters: Counters = (0, 0)
) -> tf.Tensor:
    """Uniform numbers in [0, 1), multiples of 2**-24: float32 [B, *shape]. See `random_words`.

    Example:
        >>> u = uniform([0, 1], (100, 100), Stream.DEQUANTIZATION)
        >>> tuple(u.shape), round(float(tf.reduce_mean(u)), 2)
        ((2, 100, 100), 0.5)
    """
    words = random_words(seeds, math.prod(shape), stream, counters)
    values = (
        tf.cast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24
    )
    return tf.reshape(values, [-1, *shape])


def normal(
    seeds: Seeds, shape: tuple[int, ...], stream: Stream, counters: Counters = (0, 0)
) -> tf.Tensor:
    """Standard normal numbers: float32 [B, *shape]. Arguments as in `random_words`.

    Box-Muller: sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v), u from all 32 bits of a word, so |z| reaches
    6.7.

    Example:
        >>> z = normal([0, 1], (100, 100), Stream.LANGEVIN, counters=(0, 5))
        >>> tuple(z.shape), round(float(tf.math.reduce_std(z)), 2)
        ((2, 100, 100), 1.0)
    """
    num_values = math.prod(shape)
    num_blocks = math.ceil(num_values / _WORDS_PER_BLOCK)
    padded = math.ceil(num_blocks / _BLOCKS_PER_VECTOR) * _BLOCKS_PER_VECTOR
    w0, w1, w2, w3 = _blocks(seeds, padded, stream, counters)  # each [B, padded]
    radius = tf.stack([w0, w1], axis=1)
    angle = tf.stack([w2, w3], axis=1)
    radius = tf.sqrt(-2.0 * tf.math.log((tf.cast(radius, tf.float32) + 0.5) * 2.0**-32))
    angle = tf.cast(tf.bitwise.right_shift(angle, tf.constant(8, tf.uint32)), tf.float32)
    angle = angle * (2.0 * math.pi * 2.0**-24)
    values = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)  # [B, 4, padded]
    values = tf.reshape(values, [-1, padded * _WORDS_PER_BLOCK])[:, :num_values]
    return tf.reshape(values, [-1, *shape])


def integers(seeds: Seeds, maximum: int, stream: Stream, counters: Counters = (0, 0)) -> tf.Tensor:
    """One uniform integer in [0, maximum) a seed: int32 [B]. The bias is below maximum / 2**32.

    Example:
        >>> levels = integers(np.arange(1000), 3, Stream.LEVEL)
        >>> sorted(set(levels.numpy().tolist()))
        [0, 1, 2]
    """
    word = tf.cast(random_words(seeds, 1, stream, counters)[:, 0], tf.uint64)
    scaled = word * tf.constant(maximum, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(scaled, tf.constant(32, tf.uint64)), tf.int32)


def _blocks(seeds, num_blocks, stream, counters):
    """Four uint32 tensors [B, num_blocks]."""
    seeds = tf.bitcast(tf.convert_to_tensor(seeds, tf.int64), tf.uint64)
    low = tf.cast(tf.bitwise.bitwise_and(seeds, tf.constant(0xFFFFFFFF, tf.uint64)), tf.uint32)
    high = tf.cast(tf.bitwise.right_shift(seeds, tf.constant(32, tf.uint64)), tf.uint32)
    zeros = tf.zeros_like(low)
    columns = [zeros + _uint32(counter) for counter in (*counters, int(stream))]
    block = tf.range(num_blocks, dtype=tf.int32)
    counter = (tf.cast(block, tf.uint32)[None, :], *(column[:, None] for column in columns))
    return philox4x32(counter, (low[:, None], high[:, None]))


def _uint32(value):
    """An integer or integer tensor, modulo 2**32."""
    if isinstance(value, int):
        return tf.constant(value & 0xFFFFFFFF, tf.uint32)
    value = tf.bitcast(tf.cast(value, tf.int64), tf.uint64)
    return tf.cast(tf.bitwise.bitwise_and(value, tf.constant(0xFFFFFFFF, tf.uint64)), tf.uint32)


def _multiply(constant, word):
    """High and low halves of the 64-bit product of two 32-bit words."""
    product = tf.cast(word, tf.uint64) * tf.constant(constant, tf.uint64)
    high = tf.bitwise.right_shift(product, tf.constant(32, tf.uint64))
    low = tf.bitwise.bitwise_and(product, tf.constant(0xFFFFFFFF, tf.uint64))
    return tf.cast(high, tf.uint32), tf.cast(low, tf.uint32)
