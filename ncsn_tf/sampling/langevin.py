"""Annealed Langevin dynamics."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Chain, Rows, column, draw


def annealed_langevin(
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
    """Draw images by annealed Langevin dynamics: `AnnealedLangevin` as a function.

    Args:
        score_fn: (x [B, *image_shape], levels int32 [B]) -> score of x's shape.
        seeds: int64 [B], one an image.
        image_shape: shape of one image, static.
        sigmas: float32 [L], falling noise levels.
        step_lr: step size at the last level; a number, or float32 [B], one an image.
        num_steps_each: steps a level; a number, or int32 [B], one an image.
        denoise, clip, tile: see `Chain` and `draw`.

    Returns:
        float32 [B, *image_shape].

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.4, 0.6]], 0.01), [0.3, 0.1]
        >>> x = annealed_langevin(density.score_fn(sigmas), range(200), (2,), sigmas, 1e-2, 2)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.4, 0.6])
    """
    rows = Rows.fill(seeds, step_lr, num_steps_each)
    return draw(AnnealedLangevin(sigmas, denoise), score_fn, rows, image_shape, clip, tile)


class AnnealedLangevin(Chain):
    """Annealed Langevin dynamics.

    x_0 ~ U[0, 1), then for every level i, `num_steps_each` times

        x <- x + a_i s(x, i) + sqrt(2 a_i) z,    a_i = step_lr * (sigma_i / sigma_L) ** 2

    This is the released code's convention; the paper's Algorithm 1 writes x + (e/2) s + sqrt(e) z
    with the same number for e, half this step.

    Source: Song & Ermon 2019 (arXiv:1907.05600), Algorithm 1.

    Example:
        >>> chain = AnnealedLangevin([1.0, 0.3, 0.1])
        >>> chain.num_steps(10), chain.num_evaluations(10)
        (30, 30)
    """

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        level, step = self.position(rows, index)
        noise = self.noise(rows, x.shape[1:], (level, step))
        ratios = tf.constant((self.sigmas / self.sigmas[-1]) ** 2)
        size = rows.step_lr * tf.gather(ratios, level)
        drift = column(size, x) * score_fn(x, level)
        # Subtracted with the sign turned: TensorFlow regroups the terms of a sum, and not alike in
        # every graph, so that an export would differ from the checkpoint in its last bits.
        return x + drift - column(-tf.sqrt(2.0 * size), x) * noise

    def position(self, rows: Rows, index: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Noise level and step within it, int32 [B] each, of the chain's step `index`."""
        steps_each = tf.maximum(rows.num_steps_each, 1)
        return tf.minimum(index // steps_each, self.num_levels - 1), index % steps_each

    def noise(self, rows: Rows, image_shape: Sequence[int], counters: tuple) -> tf.Tensor:
        """z, float32 [B, *image_shape], for counters (level, step)."""
        return random.normal(rows.seeds, image_shape, Stream.LANGEVIN, counters)


def langevin_step_lr(sigmas: np.ndarray, num_steps_each: int | np.ndarray) -> np.ndarray:
    """0.2 sigma_L^2, the published step size of NCSN (2e-5 at sigma_L = 0.01).

    Args:
        sigmas: array [L].
        num_steps_each: any number of steps, or an array of them, whose shape the result has.

    Source: Song & Ermon 2019 (arXiv:1907.05600); `schedule.choose_step_lr` is another choice, that
        heeds the number of steps.

    Example:
        >>> round(float(langevin_step_lr([1.0, 0.01], 100)), 7)
        2e-05
    """
    return np.full(np.shape(num_steps_each), 0.2 * float(sigmas[-1]) ** 2)
