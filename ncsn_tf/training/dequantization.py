"""Noise of a grey level, which makes images of whole levels a density."""

import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream


def dequantized(images: tf.Tensor, seeds: random.Seeds, counters: random.Counters) -> tf.Tensor:
    """X * 255/256 + U[0, 1)/256: float32 [B, ...], of images X in [0, 1].

    Args:
        images: float32 [B, ...].
        seeds, counters: address of the draws, see `random`.

    Example:
        >>> dequantized(tf.ones([1, 2]), [7], (0, 0)).numpy().round(1).tolist()
        [[1.0, 1.0]]
    """
    grain = random.uniform(seeds, images.shape[1:], Stream.DEQUANTIZATION, counters)
    return images * (255.0 / 256.0) + grain * (1.0 / 256.0)
