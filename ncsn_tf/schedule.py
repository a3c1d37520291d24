"""Noise levels: the ladder of standard deviations that a network is trained on."""

import math

import tensorflow as tf


def geometric_sigmas(sigma_begin, sigma_end, num_levels):
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
    """
    if num_levels < 1:
        raise ValueError(f"num_levels must be at least 1, not {num_levels}")
    if not (0 < sigma_begin < math.inf and sigma_end > 0):
        raise ValueError(f"noise levels must be positive, not {sigma_begin} to {sigma_end}")
    if num_levels == 1:
        return tf.constant([sigma_begin], tf.float32)
    if sigma_end >= sigma_begin:
        raise ValueError(f"sigma_end ({sigma_end}) must be below sigma_begin ({sigma_begin})")
    ratio = sigma_end / sigma_begin
    inner = [sigma_begin * ratio ** (i / (num_levels - 1)) for i in range(1, num_levels - 1)]
    return tf.constant([sigma_begin, *inner, sigma_end], tf.float32)
