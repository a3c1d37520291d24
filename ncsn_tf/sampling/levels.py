"""Noise levels of a chain: ladders with points between them, and the score at any of these."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf.sampling.chain import column


def ladder_length(num_levels: int, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
    """Points of a ladder with n steps from each of L levels to the next: n (L - 1) + 1.

    Every n-th of them is a level. None at all for n = 0.

    Args:
        num_levels: L.
        num_steps_each: n; a number, or an int32 tensor, whose shape the result has.

    Example:
        >>> ladder_length(10, 1), ladder_length(10, 5)
        (10, 46)
    """
    ends = tf.minimum(num_steps_each, 1) if tf.is_tensor(num_steps_each) else min(num_steps_each, 1)
    return (num_levels - 1) * num_steps_each + ends


def ladder_sigma(
    sigmas: np.ndarray, num_steps_each: tf.Tensor, index: int | tf.Tensor
) -> tf.Tensor:
    """Point `index` of the geometric ladder from sigma_1 to sigma_L, see `ladder_length`.

    Args:
        sigmas: float32 array [L].
        num_steps_each: int32 [B], n.
        index: scalar int32; past the end it is the last.

    Returns:
        float32 [B].

    Example:
        >>> sigmas = np.array([1.0, 0.1, 0.01], np.float32)
        >>> [round(float(ladder_sigma(sigmas, tf.constant([2]), k)[0]), 3) for k in range(6)]
        [1.0, 0.316, 0.1, 0.032, 0.01, 0.01]
    """
    last = tf.cast(tf.maximum((len(sigmas) - 1) * num_steps_each, 1), tf.float32)
    share = tf.minimum(tf.cast(index, tf.float32) / last, 1.0)
    return sigmas[0] * tf.exp(share * math.log(sigmas[-1] / sigmas[0]))


def at_sigma(score_fn: Callable, sigmas: np.ndarray | tf.Tensor) -> Callable:
    """The score of a network with discrete levels at any sigma: (x, sigma [B]) -> score.

    The nearest level l in log sigma answers, rescaled: s(x, sigma) = s(x, l) sigma_l / sigma. For
    an NCSNv2 network, whose output is divided by sigma and does not otherwise see the level, this
    is its own continuation to all sigma; for NCSN, sigma s(x, sigma) is constant between levels.

    A score function that knows better has a method `at_sigma(x, sigma)`, which is used.

    Args:
        score_fn: (x [B, ...], levels int32 [B]) -> score of x's shape.
        sigmas: float32 [L], falling.

    Example:
        >>> score = at_sigma(lambda x, levels: x, np.array([1.0, 0.1], np.float32))
        >>> score(tf.ones([2, 1]), tf.constant([0.5, 0.2])).numpy().round(3).tolist()
        [[2.0], [0.5]]
    """
    if hasattr(score_fn, "at_sigma"):
        return score_fn.at_sigma
    return lambda x, sigma: at_level(score_fn, sigmas, x, sigma, nearest_level(sigmas, sigma))


def nearest_level(sigmas: np.ndarray | tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """The level that is nearest to each sigma in log sigma: int32 [B].

    Args:
        sigmas: float32 [L].
        sigma: float32 [B].

    Example:
        >>> nearest_level(np.array([1.0, 0.1], np.float32), tf.constant([0.5, 0.2])).numpy()
        array([0, 1], dtype=int32)
    """
    distance = tf.abs(tf.math.log(sigma)[:, tf.newaxis] - tf.math.log(tf.constant(sigmas)))
    return tf.argmin(distance, axis=1, output_type=tf.int32)


def at_level(
    score_fn: Callable,
    sigmas: np.ndarray | tf.Tensor,
    x: tf.Tensor,
    sigma: tf.Tensor,
    level: tf.Tensor,
) -> tf.Tensor:
    """What level l says of the score at another sigma: s(x, l) sigma_l / sigma.

    Args:
        score_fn, sigmas: see `at_sigma`.
        x: float32 [B, ...].
        sigma: float32 [B].
        level: l, int32 [B].

    Returns:
        float32 of x's shape.

    Example:
        >>> sigmas = np.array([1.0, 0.1], np.float32)
        >>> x, sigma, level = tf.ones([1, 2]), tf.constant([0.2]), tf.constant([1])
        >>> at_level(lambda x, levels: x, sigmas, x, sigma, level).numpy().tolist()
        [[0.5, 0.5]]
    """
    return score_fn(x, level) * column(tf.gather(sigmas, level) / sigma, x)


def flow_score(score_fn: Callable, sigmas: np.ndarray, jumps: bool) -> Callable:
    """The score that a solver of the flow reads: (x, sigma [B], level int32 [B]) -> score.

    A solver of which each step is within one level says which, and has that level's score on both
    ends of the step. Without `jumps` the score is that of `at_sigma`, whatever the level.

    Args:
        score_fn, sigmas: see `at_sigma`.
        jumps: whether the score jumps at the `level_middles`, as NCSN's does.

    Example:
        >>> sigmas = np.array([1.0, 0.25], np.float32)
        >>> score = flow_score(lambda x, levels: x, sigmas, jumps=True)
        >>> score(tf.ones([2, 1]), tf.constant([0.5, 0.5]), tf.constant([0, 1])).numpy().tolist()
        [[2.0], [0.5]]
    """
    if jumps:
        return lambda x, sigma, level: at_level(score_fn, sigmas, x, sigma, level)
    score = at_sigma(score_fn, sigmas)
    return lambda x, sigma, level: score(x, sigma)


def level_middles(sigmas: np.ndarray) -> np.ndarray:
    """The L - 1 noise levels, falling, at which `at_sigma` goes from one level to the next.

    Example:
        >>> level_middles(np.array([1.0, 0.25, 0.01])).tolist()
        [0.5, 0.05]
    """
    return np.sqrt(np.asarray(sigmas[:-1], np.float64) * sigmas[1:])
