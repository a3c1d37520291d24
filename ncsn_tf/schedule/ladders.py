"""Ladders of noise levels: falling standard deviations, and their values inside of graphs."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def geometric_sigmas(sigma_begin: float, sigma_end: float, num_levels: int) -> tf.Tensor:
    """Geometric ladder of noise levels, sigma_1 > ... > sigma_L.

    sigma_i = sigma_begin * (sigma_end / sigma_begin) ** ((i - 1) / (L - 1))

    Args:
        sigma_begin: largest standard deviation, in units of the images' [0, 1] range.
        sigma_end: smallest standard deviation, 0 < sigma_end < sigma_begin.
        num_levels: L, at least 1; a ladder of one level is [sigma_begin].

    Returns:
        float32 [L], computed in double precision and rounded once; both ends are exact.

    Raises:
        ValueError: on an empty ladder, a level that is not positive, or levels that do not fall.

    Source: Song & Ermon 2019 (arXiv:1907.05600), section 4.1.

    Example:
        >>> print(geometric_sigmas(1.0, 0.01, 3).numpy())
        [1.   0.1  0.01]
    """
    return _ladder(
        sigma_begin,
        sigma_end,
        num_levels,
        lambda share: sigma_begin * (sigma_end / sigma_begin) ** share,
    )


def uniform_sigmas(sigma_begin: float, sigma_end: float, num_levels: int) -> tf.Tensor:
    """Ladder of evenly spaced noise levels, sigma_1 > ... > sigma_L.

    sigma_i = sigma_begin + (sigma_end - sigma_begin) * (i - 1) / (L - 1)

    Arguments, result and errors are those of `geometric_sigmas`.

    Source: the released code of Song & Ermon 2020, `sigma_dist: uniform`.

    Example:
        >>> print(uniform_sigmas(1.0, 0.2, 3).numpy())
        [1.  0.6 0.2]
    """
    return _ladder(
        sigma_begin,
        sigma_end,
        num_levels,
        lambda share: sigma_begin + (sigma_end - sigma_begin) * share,
    )


def static_sigmas(sigmas: Sequence[float] | np.ndarray | tf.Tensor | tf.Variable) -> np.ndarray:
    """The values of noise levels: float32 numpy array, also while a graph is being made.

    Args:
        sigmas: [L], numbers or a tensor.

    Raises:
        ValueError: on a tensor whose values only the finished graph will compute.

    Example:
        >>> print(static_sigmas(tf.constant([1.0, 0.5])))
        [1.  0.5]
    """
    # Not converted first: inside a tf.function that would be a captured tensor, of which TensorFlow
    # knows the values of small ones only.
    if isinstance(sigmas, tf.Variable):
        sigmas = sigmas.read_value()
    values = tf.get_static_value(sigmas) if tf.is_tensor(sigmas) else sigmas
    if values is None:
        raise ValueError("sigmas must be known when the graph is made")
    return np.asarray(values, np.float32)


def _ladder(sigma_begin, sigma_end, num_levels, at):
    """Levels at(0) = sigma_begin to at(1) = sigma_end, checked."""
    if num_levels < 1:
        raise ValueError(f"num_levels must be at least 1, not {num_levels}")
    if not (0 < sigma_begin < math.inf and sigma_end > 0):
        raise ValueError(f"noise levels must be positive, not {sigma_begin} to {sigma_end}")
    if num_levels == 1:
        return tf.constant([sigma_begin], tf.float32)
    if sigma_end >= sigma_begin:
        raise ValueError(f"sigma_end ({sigma_end}) must be below sigma_begin ({sigma_begin})")
    inner = [at(i / (num_levels - 1)) for i in range(1, num_levels - 1)]
    return tf.constant([sigma_begin, *inner, sigma_end], tf.float32)
