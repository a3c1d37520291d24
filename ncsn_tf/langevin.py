"""Langevin samplers: annealed Langevin dynamics, and its consistent form."""

import math

import numpy as np
import tensorflow as tf

from ncsn_tf import random, sampling
from ncsn_tf.random import Stream
from ncsn_tf.sampling import Chain, Rows, column


def annealed_langevin(
    score_fn,
    seeds,
    image_shape,
    sigmas,
    step_lr,
    num_steps_each,
    denoise=False,
    clip=True,
    tile=None,
):
    """Draw images by annealed Langevin dynamics: `AnnealedLangevin` as a function.

    Args:
        score_fn: (x [B, *image_shape], labels int32 [B]) -> score of x's shape.
        seeds: int64 [B], one an image.
        image_shape: shape of one image, static.
        sigmas: float32 [L], falling noise levels.
        step_lr: step size at the last level; a number, or float32 [B], one an image.
        num_steps_each: steps a level; a number, or int32 [B], one an image.
        denoise, clip, tile: see `sampling.Chain` and `sampling.draw`.

    Returns:
        float32 [B, *image_shape].
    """
    rows = Rows.fill(seeds, step_lr, num_steps_each)
    return sampling.draw(AnnealedLangevin(sigmas, denoise), score_fn, rows, image_shape, clip, tile)


class AnnealedLangevin(Chain):
    """Annealed Langevin dynamics.

    x_0 ~ U[0, 1), then for every level i, `num_steps_each` times

        x <- x + a_i s(x, i) + sqrt(2 a_i) z,    a_i = step_lr * (sigma_i / sigma_L) ** 2

    This is the released code's convention; the paper's Algorithm 1 writes x + (e/2) s + sqrt(e) z
    with the same number for e, half this step.

    Source: Song & Ermon 2019 (arXiv:1907.05600), Algorithm 1.
    """

    def step(self, score_fn, x, rows, index):
        level, step = self.position(rows, index)
        noise = self.noise(rows, x.shape[1:], (level, step))
        ratios = tf.constant((self.sigmas / self.sigmas[-1]) ** 2)
        size = rows.step_lr * tf.gather(ratios, level)
        drift = column(size, x) * score_fn(x, level)
        # Subtracted with the sign turned: TensorFlow regroups the terms of a sum, and not alike in
        # every graph, so that an export would differ from the checkpoint in its last bits.
        return x + drift - column(-tf.sqrt(2.0 * size), x) * noise

    def position(self, rows, index):
        """Noise level and step within it, int32 [B] each, of the chain's step `index`."""
        steps_each = tf.maximum(rows.num_steps_each, 1)
        return tf.minimum(index // steps_each, self.num_levels - 1), index % steps_each

    def noise(self, rows, image_shape, counters):
        """z, float32 [B, *image_shape], for counters (level, step)."""
        return random.normal(rows.seeds, image_shape, Stream.LANGEVIN, counters)


class ConsistentAnnealing(Chain):
    """Consistent annealed sampling: every step lands on the next noise level exactly.

    The levels are those of a geometric ladder, with n = `num_steps_each` steps from each to the
    next: n (L - 1) + 1 points of ratio g = sigma_{k+1} / sigma_k. x_0 ~ U[0, 1), then for every
    point k

        x <- x + h sigma_k^2 s(x, sigma_k) + b sigma_{k+1} z
        h = step_lr / sigma_L^2,    b = sqrt(1 - ((1 - h) / g)^2)

    without noise after the last. Where x - x_clean has variance sigma_k^2, it has sigma_{k+1}^2
    afterwards. `consistent_step_range` has the step sizes of which b is real. A network of discrete
    levels is read between them by `at_sigma`.

    Source: Jolicoeur-Martineau et al. 2020 (arXiv:2009.05475), Algorithm 2; more than one step a
    level by more levels between them, as in its released code.
    """

    def num_steps(self, num_steps_each):
        return ladder_length(self.num_levels, num_steps_each)

    def step(self, score_fn, x, rows, index):
        sigma, following = (
            ladder_sigma(self.sigmas, rows.num_steps_each, k) for k in (index, index + 1)
        )
        is_last = index + 1 >= self.num_steps(rows.num_steps_each)
        size = rows.step_lr / self.sigmas[-1] ** 2
        share = 1.0 - tf.square((1.0 - size) * sigma / following)
        spread = tf.where(is_last, 0.0, following * tf.sqrt(tf.maximum(share, 0.0)))
        noise = random.normal(rows.seeds, x.shape[1:], Stream.LANGEVIN, (index, 0))
        score = at_sigma(score_fn, self.sigmas)(x, sigma)
        drift = column(size * tf.square(sigma), x) * score
        return x + drift - column(-spread, x) * noise


def consistent_step_range(sigmas, num_steps_each):
    """The open interval of step sizes that `ConsistentAnnealing` can take: (lowest, highest).

    sigma_L^2 (1 - g) < step_lr < sigma_L^2 (1 + g): outside, b is not real.

    Args:
        sigmas: array [L].
        num_steps_each: n, at least 1; a number, or an array of any shape, which the results have.
    """
    steps = np.maximum((len(sigmas) - 1) * np.asarray(num_steps_each, np.float64), 1.0)
    last = float(sigmas[-1])
    ratio = np.exp(math.log(last / float(sigmas[0])) / steps)
    return last**2 * (1.0 - ratio), last**2 * (1.0 + ratio)


def ladder_length(num_levels, num_steps_each):
    """Points of a ladder with n steps from each of L levels to the next: n (L - 1) + 1.

    Every n-th of them is a level. None at all for n = 0.

    Args:
        num_levels: L.
        num_steps_each: n; a number, or an int32 tensor, whose shape the result has.
    """
    ends = tf.minimum(num_steps_each, 1) if tf.is_tensor(num_steps_each) else min(num_steps_each, 1)
    return (num_levels - 1) * num_steps_each + ends


def ladder_sigma(sigmas, num_steps_each, index):
    """Point `index` of the geometric ladder from sigma_1 to sigma_L, see `ladder_length`.

    Args:
        sigmas: array [L].
        num_steps_each: int32 [B], n.
        index: scalar int32; past the end it is the last.

    Returns:
        float32 [B].
    """
    last = tf.cast(tf.maximum((len(sigmas) - 1) * num_steps_each, 1), tf.float32)
    share = tf.minimum(tf.cast(index, tf.float32) / last, 1.0)
    return sigmas[0] * tf.exp(share * math.log(sigmas[-1] / sigmas[0]))


def at_sigma(score_fn, sigmas):
    """The score of a network with discrete levels at any sigma: (x, sigma [B]) -> score.

    The nearest level l in log sigma answers, rescaled: s(x, sigma) = s(x, l) sigma_l / sigma. For
    an NCSNv2 network, whose output is divided by sigma and does not otherwise see the level, this
    is its own continuation to all sigma; for NCSN, sigma s(x, sigma) is constant between levels.

    A score function that knows better has a method `at_sigma(x, sigma)`, which is used.
    """
    if hasattr(score_fn, "at_sigma"):
        return score_fn.at_sigma
    logs = tf.math.log(tf.constant(sigmas))

    def score(x, sigma):
        distance = tf.abs(tf.math.log(sigma)[:, tf.newaxis] - logs)
        level = tf.argmin(distance, axis=1, output_type=tf.int32)
        return at_level(score_fn, sigmas, x, sigma, level)

    return score


def at_level(score_fn, sigmas, x, sigma, level):
    """What level l int32 [B] says of the score at sigma [B]: s(x, l) sigma_l / sigma."""
    return score_fn(x, level) * column(tf.gather(sigmas, level) / sigma, x)


def level_middles(sigmas):
    """The L - 1 noise levels, falling, at which `at_sigma` goes from one level to the next."""
    return np.sqrt(np.asarray(sigmas[:-1], np.float64) * sigmas[1:])
