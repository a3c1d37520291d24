"""The variance-exploding equation, and ladders of noise levels as a case of it."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.errors import ConfigError
from ncsn_tf.schedule.ladders import static_sigmas
from ncsn_tf.schedule.sde.equation import SDE, Times, check_positive, times


class VE(SDE):
    """The variance-exploding SDE: x(t) = x(0) + sigma(t) z.

        sigma(t) = sigma_min (sigma_max / sigma_min)^t
        g(t) = sigma(t) sqrt(2 log(sigma_max / sigma_min))

    Its discrete step i, from sigma_i to sigma_{i-1} of the rising levels with sigma_{-1} = 0, has
    f = 0, G = sqrt(sigma_i^2 - sigma_{i-1}^2). Noise of sigma(0) counts as none: the variance ought
    to be sigma(t)^2 - sigma(0)^2.

    Args:
        sigma_min, sigma_max: 0 < sigma_min < sigma_max.
        num_scales: N, discrete levels, geometric.
        center: mean of the prior N(center, sigma_max^2 I).

    Attributes:
        discrete_sigmas: float32 array [N], rising.
        levels: float32 array [N], falling: the noise levels of a network, by its labels.

    Raises:
        ConfigError: other values.

    Source: Song et al. 2021 (arXiv:2011.13456), equation 9 and appendix C.

    Example:
        >>> equation = VE(0.01, 1.0, num_scales=3)
        >>> print(equation.std([0.0, 0.5, 1.0]).numpy().round(4), equation.levels)
        [0.01 0.1  1.  ] [1.   0.1  0.01]
    """

    name = "variance-exploding"

    def __init__(
        self,
        sigma_min: float = 0.01,
        sigma_max: float = 50.0,
        num_scales: int = 1000,
        center: float = 0.0,
    ) -> None:
        check_positive(sigma_min=sigma_min, sigma_max=sigma_max)
        if not sigma_min < sigma_max:
            raise ConfigError(f"sigma_min ({sigma_min}) must be below sigma_max ({sigma_max})")
        super().__init__(num_scales, sigma_max, center)
        self.sigma_min = float(sigma_min)
        self.sigma_max = float(sigma_max)
        rising = np.geomspace(sigma_min, sigma_max, self.num_scales)
        self._set_levels(rising.astype(np.float32))
        self._logs = None  # of levels that are not geometric

    @classmethod
    def of_levels(
        cls, sigmas: Sequence[float] | np.ndarray | tf.Tensor, center: float = 0.5
    ) -> "VE":
        """The equation whose discrete levels are these: the ladder of a network.

        Level l of the falling ladder is at t = 1 - l / (L - 1); between levels log sigma is linear
        in t. For a geometric ladder that is `VE(sigma_L, sigma_1, L)`.

        Args:
            sigmas: [L], at least two levels, rising or falling, known when the graph is made.
            center: mean of the prior; 1/2, the middle of the images' range.

        Raises:
            ConfigError: levels that are not positive, or neither rise nor fall.

        Example:
            >>> print(VE.of_levels([1.0, 0.5, 0.1]).std([1.0, 0.5, 0.25, 0.0]).numpy().round(3))
            [1.    0.5   0.224 0.1  ]
        """
        rising = static_sigmas(sigmas)
        if rising.ndim == 1 and len(rising) > 1 and rising[0] > rising[-1]:
            rising = rising[::-1]
        if rising.ndim != 1 or len(rising) < 2 or not np.all(np.diff(rising) > 0):
            raise ConfigError(f"noise levels must be at least two that rise or fall, not {sigmas}")
        if not rising[0] > 0 or not math.isfinite(rising[-1]):
            raise ConfigError(f"noise levels must be positive numbers, not {sigmas}")
        equation = cls(float(rising[0]), float(rising[-1]), len(rising), center)
        if not np.allclose(rising, equation.discrete_sigmas, rtol=1e-5, atol=0.0):
            equation._logs = np.log(rising.astype(np.float64))
        equation._set_levels(rising)
        return equation

    def mean_scale(self, t: Times) -> None:
        return None

    def std(self, t: Times) -> tf.Tensor:
        t = times(t)
        if self._logs is None:
            # By a power, not by exp(t log ratio): networks see log sigma times hundreds.
            return self.sigma_min * tf.pow(tf.constant(self.sigma_max / self.sigma_min), t)
        lower, slopes = self._piece(t)
        return tf.exp(
            tf.gather(tf.constant(self._logs, tf.float32), lower) + slopes * self._rest(t)
        )

    def time(self, sigma: Times) -> tf.Tensor:
        logs = tf.math.log(times(sigma))
        if self._logs is None:
            ratio = math.log(self.sigma_max / self.sigma_min)
            return (logs - math.log(self.sigma_min)) / ratio
        edges = tf.constant(self._logs[1:-1], tf.float32)
        lower = tf.reduce_sum(tf.cast(logs[:, None] >= edges, tf.int32), 1)
        at, slopes = (
            tf.gather(tf.constant(table, tf.float32), lower)
            for table in (self._logs, np.diff(self._logs))
        )
        rest = (logs - at) / slopes
        return (tf.cast(lower, tf.float32) + rest) / float(self.num_scales - 1)

    def rate(self, t: Times) -> None:
        return None

    def diffusion(self, t: Times) -> tf.Tensor:
        if self._logs is None:
            return self.std(t) * math.sqrt(2.0 * math.log(self.sigma_max / self.sigma_min))
        _, slopes = self._piece(times(t))
        return self.std(t) * tf.sqrt(2.0 * slopes * (self.num_scales - 1))

    def discrete_rate(self, t: Times) -> None:
        return None

    def discrete_diffusion(self, t: Times) -> tf.Tensor:
        return tf.gather(tf.constant(self._falls), self.index(t))

    def ancestral(self, t: Times) -> tuple[None, tf.Tensor, tf.Tensor]:
        index = self.index(t)
        return (
            None,
            tf.gather(tf.constant(self._falls**2), index),
            tf.gather(tf.constant(self._ancestral_spreads), index),
        )

    def alpha(self, t: Times) -> None:
        return None

    def condition(self, t: Times, continuous: bool) -> tf.Tensor:
        return self.std(t) if continuous else self.label(t)

    def network_score(
        self, network: Callable, x: tf.Tensor, t: Times, continuous: bool
    ) -> tf.Tensor:
        return network(x, self.condition(t, continuous))

    def label(self, t: Times) -> tf.Tensor:
        """The nearest label of a network of discrete levels, int32 [B]: round((1 - t) (N - 1)).

        Half-way between two labels it is the even one. Label 0 is the most noise.
        """
        return tf.cast(tf.round((1.0 - times(t)) * float(self.num_scales - 1)), tf.int32)

    def _set_levels(self, rising):
        self.discrete_sigmas = rising
        self.levels = rising[::-1]
        sigma = rising.astype(np.float64)
        previous = np.concatenate([[0.0], sigma[:-1]])
        falls = np.sqrt((sigma - previous) * (sigma + previous))
        self._falls = falls.astype(np.float32)
        self._ancestral_spreads = (previous * falls / sigma).astype(np.float32)

    def _piece(self, t):
        """The level below each time, int32 [B], and how much log sigma rises to the next."""
        lower = tf.clip_by_value(self.index(t), 0, self.num_scales - 2)
        return lower, tf.gather(tf.constant(np.diff(self._logs), tf.float32), lower)

    def _rest(self, t):
        """How far each time is from the level below, 1 at the next."""
        lower = tf.clip_by_value(self.index(t), 0, self.num_scales - 2)
        return t * float(self.num_scales - 1) - tf.cast(lower, tf.float32)
