"""Euler's and Heun's methods on the probability flow, with noise that is added on the way."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.sampling.chain import Rows, column
from ncsn_tf.sampling.few_steps import FewSteps, draw_few

_MOST_CHURN = math.sqrt(2.0) - 1.0  # noise of a step at most doubles the variance


def euler(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    **settings: Any,
) -> tf.Tensor:
    """Draw images by Euler's method: `Euler` as a function, see `few_steps.draw_few`.

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.5, 0.5]], 0.01), [0.3, 0.1]
        >>> x = euler(density.score_fn(sigmas), range(200), (2,), sigmas, 10)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.5, 0.5])
    """
    return draw_few(Euler, score_fn, seeds, image_shape, sigmas, num_evaluations, **settings)


def heun(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    num_evaluations: int = 20,
    **settings: Any,
) -> tf.Tensor:
    """Draw images by Heun's method: `Heun` as a function, see `few_steps.draw_few`.

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.5, 0.5]], 0.01), [0.3, 0.1]
        >>> x = heun(density.score_fn(sigmas), range(200), (2,), sigmas, 10, churn=2.0)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.5, 0.5])
    """
    return draw_few(Heun, score_fn, seeds, image_shape, sigmas, num_evaluations, **settings)


class Euler(FewSteps):
    """Euler's method: steps of first order along dx / dsigma = (x - D(x, sigma)) / sigma.

    From point t to the next, t', first noise is added and then removed with the rest:

        u = t (1 + gamma)
        y = x + sqrt(u^2 - t^2) S_noise z
        x <- y + (t' - u) d,    d = (y - D(y, u)) / u = -u s(y, u)

    gamma is min(S_churn / N, sqrt(2) - 1) where S_min <= t <= S_max, else 0; N counts the steps,
    that of denoising too, which itself has no churn here. Without churn only x_0 is random.

    Args:
        *settings, **named: those of `FewSteps`.
        churn: S_churn, at least 0.
        churn_min, churn_max: S_min and S_max; S_max = 0 is no bound.
        churn_noise: S_noise, above 0.

    Raises:
        ValueError: see `FewSteps`; bounds of which the upper is not above the lower.

    Source: Karras et al. 2022 (arXiv:2206.00364), Algorithm 2, without its second-order correction.

    Example:
        >>> chain = Euler([1.0, 0.3, 0.1], denoise=True, num_evaluations=10)
        >>> chain.num_steps(1), chain.num_evaluations(1)
        (9, 10)
    """

    def __init__(
        self,
        *settings: Any,
        churn: float = 0.0,
        churn_min: float = 0.0,
        churn_max: float = 0.0,
        churn_noise: float = 1.0,
        **named: Any,
    ) -> None:
        if not churn >= 0:
            raise ValueError(f"churn={churn} must be at least 0")
        if not churn_noise > 0:
            raise ValueError(f"churn_noise={churn_noise} must be above 0")
        if churn_max and not churn_max > churn_min:
            raise ValueError(f"churn_max={churn_max} must be above churn_min={churn_min}, or 0")
        self._churn = churn
        self._churned_levels = churn_min, churn_max or math.inf
        self._churn_noise = churn_noise
        super().__init__(*settings, **named)

    def numbers(self, points: np.ndarray) -> dict[str, np.ndarray]:
        now, following = points[:-1], points[1:]
        lowest, highest = self._churned_levels
        within = (lowest <= now) & (now <= highest)
        gamma = min(self._churn / (len(now) + int(self.denoise)), _MOST_CHURN)
        raised = now * (1.0 + np.where(within, gamma, 0.0))
        fall = raised - following
        return {
            "raised": raised,
            "spread": self._churn_noise * np.sqrt(raised**2 - now**2),
            "slope": raised * fall,
            "next": following,
            "next_slope": -0.5 * following * fall,
        }

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        x = self.churned(x, rows, index)
        score = self.score(score_fn)(x, self.at_step("raised", rows, index))
        return x + column(self.at_step("slope", rows, index), x) * score

    def churned(self, x: tf.Tensor, rows: Rows, index: int | tf.Tensor) -> tf.Tensor:
        """y of step `index`."""
        if not self.tables["spread"].any():
            return x
        noise = random.normal(rows.seeds, x.shape[1:], Stream.LANGEVIN, (index, 0))
        return x + column(self.at_step("spread", rows, index), x) * noise


class Heun(Euler):
    """Heun's method: a step of `Euler` to z at t', then again with the mean of both slopes.

        x <- y + (t' - u) (d + d') / 2,    d' = (z - D(z, t')) / t' = -t' s(z, t')

    Two evaluations a step, of second order. Of an odd number of evaluations one is left over,
    which is the denoising step's.

    Args and errors are those of `Euler`.

    Source: Karras et al. 2022 (arXiv:2206.00364), Algorithms 1 and 2.

    Example:
        >>> chain = Heun([1.0, 0.3, 0.1], denoise=True, num_evaluations=19)
        >>> chain.num_steps(1), chain.num_evaluations(1)
        (9, 19)
    """

    evaluations_a_step = 2

    def step(
        self, score_fn: Callable, x: tf.Tensor, rows: Rows, index: int | tf.Tensor
    ) -> tf.Tensor:
        x = self.churned(x, rows, index)
        score_at = self.score(score_fn)
        slope = score_at(x, self.at_step("raised", rows, index))
        first = column(self.at_step("slope", rows, index), x) * slope
        following = score_at(x + first, self.at_step("next", rows, index))
        second = column(self.at_step("next_slope", rows, index), x) * following
        # Subtracted with the sign turned, as in `langevin.AnnealedLangevin.step`.
        return x + 0.5 * first - second
