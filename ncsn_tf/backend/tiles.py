"""Tiles: how many examples pass through a network together."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Training images in the network at once on a CPU: enough for fast convolutions, few enough for the
# activations to stay in the cache. And how many such tiles are computed at the same time.
CPU_TILE = 8
PARALLEL_TILES = 2
# The widest network for which it pays to halve a batch of fewer than two tiles: the gradients of
# more weights take longer to add than the halves gain.
HALVED_FEATURES = 64


def training_tile(
    size: int, features: int, on_cpu: bool, asked: int = 0, jit_compile: bool = False
) -> int:
    """How many of a replica's `size` training images pass through the network together.

    What is asked for. When that is 0: all of them on an accelerator and with XLA; else on a CPU
    eight, or the next smaller divisor down to four. Fewer than 16 pass in two halves in a network
    of up to 64 features, and together in a wider one.

    Args:
        size: images of a replica's batch.
        features: channels of the network's first stage.
        on_cpu: whether it computes on a CPU.
        asked: images at once, however large; 0 suits the device.
        jit_compile: whether the step is compiled with XLA.

    Example:
        >>> training_tile(64, features=128, on_cpu=True), training_tile(64, 128, on_cpu=False)
        (8, 64)
    """
    if asked:
        return min(asked, size)
    if not on_cpu or jit_compile:
        return size
    if size < 2 * CPU_TILE:
        halved = size % 2 == 0 and features <= HALVED_FEATURES
        return size // 2 if halved else size
    divisors = range(CPU_TILE, CPU_TILE // 2 - 1, -1)
    return next((tile for tile in divisors if size % tile == 0), size)


def in_tiles(fn: Callable[..., Any], tile: int, *batches: Any, dtypes: Any = tf.float32) -> Any:
    """Apply a function to `tile` examples at a time: the result depends on no other batch size.

    Libraries choose how to sum a convolution by the size of the batch, so that an image drawn alone
    and one drawn among others differ in their last bits. In tiles of one size, padded with zeros,
    they do not. (On a CPU the place within a tile matters too, unless the network's features are a
    multiple of 8; tiles of one image have no places.)

    Args:
        fn: (nested) tensors [tile, ...] -> (nested) tensors [tile, ...].
        tile: examples at a time, at least 1.
        batches: (nested) tensors [B, ...].
        dtypes: of what fn returns, in the same structure.

    Returns:
        what fn returns, as tensors [B, ...].

    Example:
        >>> print(in_tiles(lambda x: x + tf.cast(len(x), tf.float32), 2, tf.zeros([3])).numpy())
        [2. 2. 2.]
    """
    batches = tf.nest.map_structure(tf.convert_to_tensor, batches)
    size = tf.shape(tf.nest.flatten(batches)[0])[0]
    padding = tf.math.floormod(-size, tile)

    def split(batch):
        padded = tf.pad(batch, [[0, padding]] + [[0, 0]] * (batch.shape.rank - 1))
        return tf.reshape(padded, [-1, tile, *batch.shape[1:]])

    def join(results):
        return tf.reshape(results, [-1, *results.shape[2:]])[:size]

    results = tf.map_fn(
        lambda parts: fn(*parts),
        tf.nest.map_structure(split, batches),
        fn_output_signature=dtypes,
        parallel_iterations=PARALLEL_TILES,
    )
    return tf.nest.map_structure(join, results)
