"""Predictor-corrector sampling of the variance-exploding SDE."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.choices import CORRECTORS, PREDICTORS
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Chain, Rows, column, draw
from ncsn_tf.sampling.levels import at_sigma, ladder_length, ladder_sigma


def predictor_corrector(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_steps_each: int | tf.Tensor,
    snr: float = 0.16,
    corrector_steps: int = 1,
    predictor: str = "reverse",
    corrector: str = "ald",
    denoise: bool = False,
    clip: bool = True,
    tile: int | None = None,
) -> tf.Tensor:
    """Draw images by predictor-corrector sampling: `PredictorCorrector` as a function.

    Args:
        score_fn, seeds, image_shape, sigmas: see `annealed_langevin`.
        num_steps_each: steps from each level to the next; a number, or int32 [B], one an image.
        snr, corrector_steps, predictor, corrector: see `PredictorCorrector`.
        denoise, clip, tile: see `Chain` and `draw`.

    Returns:
        float32 [B, *image_shape].

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.5, 0.5]], 0.01), [0.3, 0.1]
        >>> x = predictor_corrector(density.score_fn(sigmas), range(200), (2,), sigmas, 2)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.5, 0.5])
    """
    chain = PredictorCorrector(sigmas, denoise, snr, corrector_steps, predictor, corrector)
    return draw(chain, score_fn, Rows.fill(seeds, 0.0, num_steps_each), image_shape, clip, tile)


class PredictorCorrector(Chain):
    """Predictor-corrector sampler of dx = sqrt(d sigma^2 / dt) dw in reverse time.

    The levels are those of a geometric ladder, with n = `num_steps_each` steps from each to the
    next: n (L - 1) + 1 points. x_0 ~ N(1/2, sigma_1^2), then for every point k, first M times the
    corrector

        x <- x + e s(x, sigma_k) + sqrt(2 e) z
        ald         e = 2 (snr sigma_k)^2
        langevin    e = 2 (snr |z| / |s|)^2

    then the predictor, with d = sigma_k^2 - sigma_{k+1}^2:

        reverse (diffusion) x <- x + d s(x, sigma_k) + sqrt(d) z
        ancestral           x <- x + d s(x, sigma_k) + sqrt(d sigma_{k+1}^2 / sigma_k^2) z
        none                x

    The predictor of the last level, which has nowhere to go, is the denoising step, if asked for.

    The step of `langevin` depends on the x and z that it moves, and is long where the score is
    small: however many the steps, the variance of a Gaussian comes out 1.29 times too large for
    D = 16 numbers, 1.09 for 64, 1.04 for 256. `ald` has no such bias. The norms are those of one
    image: the released code takes their means over the batch, so that its images depend on their
    neighbours.

    That code starts around 0; 1/2 is the middle of the images' range, which matters where sigma_1
    is small.

    Args:
        sigmas, denoise: see `Chain`.
        snr: signal-to-noise ratio of the corrector, positive.
        corrector_steps: M.
        predictor: one of `PREDICTORS`.
        corrector: one of `CORRECTORS`.

    Source: Song et al. 2021 (arXiv:2011.13456), Algorithms 2, 4 and 5, appendix F and G; `ald` and
    corrector before predictor as in its released code.

    Example:
        >>> chain = PredictorCorrector([1.0, 0.3, 0.1], corrector_steps=2)
        >>> chain.num_steps(10), chain.num_evaluations(10)
        (21, 62)
    """

    def __init__(
        self,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        denoise: bool = False,
        snr: float = 0.16,
        corrector_steps: int = 1,
        predictor: str = "reverse",
        corrector: str = "ald",
    ) -> None:
        super().__init__(sigmas, denoise)
        if predictor not in PREDICTORS:
            raise ValueError(f"predictor must be one of {', '.join(PREDICTORS)}, not {predictor}")
        if corrector not in CORRECTORS:
            raise ValueError(f"corrector must be one of {', '.join(CORRECTORS)}, not {corrector}")
        self.snr = snr
        self.corrector_steps = corrector_steps
        self.predictor = predictor
        self.corrector = corrector

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        return ladder_length(self.num_levels, num_steps_each)

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
        return prior(seeds, image_shape, self.sigmas[0])

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        score_fn = at_sigma(score_fn, self.sigmas)
        sigma, following = (
            ladder_sigma(self.sigmas, rows.num_steps_each, k) for k in (index, index + 1)
        )
        if self.corrector_steps == 1:
            x = self._correct(score_fn, x, rows, sigma, (index, 0))
        elif self.corrector_steps:
            _, x = tf.while_loop(
                lambda count, _: count < self.corrector_steps,
                lambda count, x: (
                    count + 1,
                    self._correct(score_fn, x, rows, sigma, (index, count)),
                ),
                (0, x),
                parallel_iterations=1,
            )
        if self.predictor == "none":
            return x
        fall = tf.square(sigma) - tf.square(following)  # 0 at the last level
        return tf.cond(
            tf.reduce_any(fall > 0.0),
            lambda: self._predict(score_fn, x, rows, sigma, following, fall, index),
            lambda: x,
        )

    def _correct(self, score_fn, x, rows, sigma, counters):
        noise = random.normal(rows.seeds, x.shape[1:], Stream.LANGEVIN, counters)
        score = score_fn(x, sigma)
        scale = sigma
        if self.corrector == "langevin":
            scale = norms(noise) / tf.maximum(norms(score), 1e-20)
        size = 2.0 * tf.square(self.snr * scale)
        return x + column(size, x) * score - column(-tf.sqrt(2.0 * size), x) * noise

    def _predict(self, score_fn, x, rows, sigma, following, fall, index):
        variance = fall
        if self.predictor == "ancestral":
            variance = fall * tf.square(following / sigma)
        noise = random.normal(rows.seeds, x.shape[1:], Stream.PREDICTOR, (index, 0))
        drift = column(fall, x) * score_fn(x, sigma)
        return x + drift - column(-tf.sqrt(variance), x) * noise

    def num_evaluations(self, num_steps_each: int) -> int:
        steps = self.num_steps(num_steps_each)
        predictions = 0 if self.predictor == "none" else max(steps - 1, 0)
        return steps * self.corrector_steps + predictions + int(self.denoise)


def prior(seeds: tf.Tensor, image_shape: Sequence[int], sigma: float) -> tf.Tensor:
    """N(1/2, sigma^2), the middle of the images' range under noise: float32 [B, *image_shape]."""
    return 0.5 + sigma * random.normal(seeds, tuple(image_shape), Stream.INITIAL_STATE)


def norms(x: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of each image: [B]."""
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=list(range(1, x.shape.rank))))
