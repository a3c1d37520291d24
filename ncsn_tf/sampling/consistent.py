"""Consistent annealed sampling."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Chain, Rows, column, draw
from ncsn_tf.sampling.levels import at_sigma, ladder_length, ladder_sigma

_DEFAULT_STEP = 1.5  # over the smallest that is possible


def consistent_annealing(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    step_lr: float | tf.Tensor,
    num_steps_each: int | tf.Tensor,
    denoise: bool = False,
    clip: bool = True,
    tile: int | None = None,
) -> tf.Tensor:
    """Draw images by consistent annealed sampling: `ConsistentAnnealing` as a function.

    Args:
        score_fn, seeds, image_shape, sigmas: see `annealed_langevin`.
        step_lr: step size at the last level, within `consistent_step_range`; a number, or float32
            [B], one an image. `consistent_step_lr` has a good one.
        num_steps_each: steps from each level to the next; a number, or int32 [B], one an image.
        denoise, clip, tile: see `Chain` and `draw`.

    Returns:
        float32 [B, *image_shape].

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.4, 0.6]], 0.01), [0.3, 0.1]
        >>> step_lr = float(consistent_step_lr(sigmas, 2))
        >>> score_fn = density.score_fn(sigmas)
        >>> x = consistent_annealing(score_fn, range(200), (2,), sigmas, step_lr, 2)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.4, 0.6])
    """
    rows = Rows.fill(seeds, step_lr, num_steps_each)
    return draw(ConsistentAnnealing(sigmas, denoise), score_fn, rows, image_shape, clip, tile)


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

    Example:
        >>> chain = ConsistentAnnealing([1.0, 0.3, 0.1], denoise=True)
        >>> chain.num_steps(10), chain.num_evaluations(10)
        (21, 22)
    """

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        return ladder_length(self.num_levels, num_steps_each)

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
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


def consistent_step_range(
    sigmas: np.ndarray, num_steps_each: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The open interval of step sizes that `ConsistentAnnealing` can take: (lowest, highest).

    sigma_L^2 (1 - g) < step_lr < sigma_L^2 (1 + g): outside, b is not real.

    Args:
        sigmas: array [L].
        num_steps_each: n, at least 1; a number, or an array of any shape, which the results have.

    Example:
        >>> [round(float(end), 4) for end in consistent_step_range([1.0, 0.3, 0.1], 10)]
        [0.0011, 0.0189]
    """
    steps = np.maximum((len(sigmas) - 1) * np.asarray(num_steps_each, np.float64), 1.0)
    last = float(sigmas[-1])
    ratio = np.exp(math.log(last / float(sigmas[0])) / steps)
    return last**2 * (1.0 - ratio), last**2 * (1.0 + ratio)


def consistent_step_lr(sigmas: np.ndarray, num_steps_each: int | np.ndarray) -> np.ndarray:
    """1.5 times the smallest possible step size.

    That is within 4 % the published 5.6e-6 and 1.1e-6 of CIFAR-10, n = 1 and 5. On ladders so
    coarse that it is above sigma_L^2, the middle of the interval, it is that.

    Args:
        sigmas, num_steps_each: see `consistent_step_range`.

    Example:
        >>> round(float(consistent_step_lr([1.0, 0.3, 0.1], 10)), 4)
        0.0016
    """
    lowest, highest = consistent_step_range(sigmas, num_steps_each)
    return np.minimum(_DEFAULT_STEP * lowest, (lowest + highest) / 2)
