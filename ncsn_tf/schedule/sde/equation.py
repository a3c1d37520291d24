"""What the equations have in common: linear in x, from images at t = 0 to noise at t = 1."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.columns import column
from ncsn_tf.backend.random import Stream
from ncsn_tf.errors import ConfigError

Times = float | Sequence[float] | np.ndarray | tf.Tensor


class SDE:
    """dx = r(t) x dt + g(t) dw, for times t from 0 (images) to 1 (noise).

    The law of x(t) that began at x(0) is N(m(t) x(0), std(t)^2 I). A kind of equation defines
    `mean_scale` (m), `std`, `rate` (r), `diffusion` (g), and its N discrete steps by
    `discrete_rate` and `discrete_diffusion`. Times are float32 [B], one an example.

    Args:
        num_scales: N, discrete steps, at least 2.
        prior_std: standard deviation of the noise at t = 1.
        center: its mean, the same for all numbers of an image.

    Raises:
        ConfigError: fewer than two steps.

    Source: Song et al. 2021 (arXiv:2011.13456), section 3 and appendix B.

    Example:
        >>> from ncsn_tf import sde
        >>> equation, x = sde.VP(), tf.ones([2, 3])
        >>> mean, std = equation.marginal(x, [0.01, 1.0])
        >>> print(mean[:, 0].numpy().round(4), std.numpy().round(4))
        [0.999  0.0066] [0.0446 1.    ]
    """

    name = "sde"

    def __init__(self, num_scales: int, prior_std: float = 1.0, center: float = 0.0) -> None:
        if num_scales < 2:
            raise ConfigError(f"num_scales must be at least 2, not {num_scales}")
        self.num_scales = int(num_scales)
        self.prior_std = float(prior_std)
        self.center = float(center)

    def mean_scale(self, t: Times) -> tf.Tensor | None:
        """m(t), float32 [B]; None where it is 1."""
        raise NotImplementedError

    def std(self, t: Times) -> tf.Tensor:
        """Standard deviation of the noise in x(t), float32 [B]."""
        raise NotImplementedError

    def time(self, sigma: Times) -> tf.Tensor:
        """The time t at which std(t) / m(t) is sigma: float32 [B]."""
        raise NotImplementedError

    def rate(self, t: Times) -> tf.Tensor | None:
        """r(t), float32 [B]; None where it is 0."""
        raise NotImplementedError

    def diffusion(self, t: Times) -> tf.Tensor:
        """g(t), float32 [B]."""
        raise NotImplementedError

    def discrete_rate(self, t: Times) -> tf.Tensor | None:
        """f / x of the discrete step at t, see `discretize`; None where it is 0."""
        raise NotImplementedError

    def discrete_diffusion(self, t: Times) -> tf.Tensor:
        """G of the discrete step at t, float32 [B]; see `discretize`."""
        raise NotImplementedError

    def ancestral(self, t: Times) -> tuple[tf.Tensor | None, tf.Tensor, tf.Tensor]:
        """(a, b, c) of the ancestral step x <- a x + b s + c z; a is None where it is 1.

        Raises:
            ConfigError: the equation has none.
        """
        raise ConfigError(f"there is no ancestral sampling of the {self.name} SDE")

    def alpha(self, t: Times) -> tf.Tensor | None:
        """What a corrector's step size is multiplied with, float32 [B]; None where it is 1."""
        raise NotImplementedError

    def condition(self, t: Times, continuous: bool) -> tf.Tensor:
        """What a network is told of the times, [B]: sigma, a label or 999 t; see `score_fn_of`."""
        raise NotImplementedError

    def network_score(
        self, network: Callable, x: tf.Tensor, t: Times, continuous: bool
    ) -> tf.Tensor:
        """The score of a network at times t; see `score_fn_of`."""
        raise NotImplementedError

    def marginal(self, x: tf.Tensor, t: Times) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean, of x's shape, and standard deviation [B] of x(t) that began at x."""
        x, scale = tf.convert_to_tensor(x), self.mean_scale(t)
        return x if scale is None else column(scale, x) * x, self.std(t)

    def drift(self, x: tf.Tensor, t: Times) -> tf.Tensor:
        """r(t) x, of x's shape."""
        return _times(self.rate(t), tf.convert_to_tensor(x))

    def discretize(self, x: tf.Tensor, t: Times) -> tuple[tf.Tensor, tf.Tensor]:
        """(f, G) of the discrete step i = trunc(t (N - 1)), in the direction of time.

            x_{i+1} = x_i + f + G z

        Returns:
            f of x's shape, G float32 [B].
        """
        x = tf.convert_to_tensor(x)
        return _times(self.discrete_rate(t), x), self.discrete_diffusion(t)

    def reverse(self, score_fn: Callable, probability_flow: bool = False) -> "Reverse":
        """The way back by a score function (x, t [B]) -> score of x's shape; see `Reverse`."""
        return Reverse(self, score_fn, probability_flow)

    def prior(self, seeds: random.Seeds, image_shape: Sequence[int]) -> tf.Tensor:
        """x(1) ~ N(center, prior_std^2 I), each image by its seed: float32 [B, *image_shape]."""
        return self.center + self.prior_std * random.normal(
            seeds, tuple(image_shape), Stream.INITIAL_STATE
        )

    def prior_log_density(self, z: tf.Tensor) -> tf.Tensor:
        """log p_1, in nats: [B, ...] -> float32 [B]."""
        z = tf.convert_to_tensor(z)
        log_scale = math.log(self.prior_std) + 0.5 * math.log(2.0 * math.pi)
        squares = tf.square((z - self.center) / self.prior_std)
        return -tf.reduce_sum(0.5 * squares + log_scale, list(range(1, z.shape.rank)))

    def grid(self, epsilon: float) -> np.ndarray:
        """The N times of a chain, evenly from 1 to epsilon: float32 array [N].

        Both ends are exact. Steps are counted from the nearer end, each rounded once.

        Example:
            >>> from ncsn_tf import sde
            >>> sde.VE(num_scales=3).grid(0.5).tolist()
            [1.0, 0.75, 0.5]
        """
        start, end = np.float32(1.0), np.float32(epsilon)
        step = np.float64(np.float32((end - start) / np.float32(self.num_scales - 1)))
        index = np.arange(self.num_scales)
        falling = np.where(
            index < self.num_scales // 2,
            start + step * index,
            end - step * (self.num_scales - 1 - index),
        )
        return falling.astype(np.float32)

    def index(self, t: Times) -> tf.Tensor:
        """The discrete step at times t: trunc(t (N - 1)), int32 [B]."""
        return tf.cast(times(t) * float(self.num_scales - 1), tf.int32)


class Reverse:
    """An equation run backwards in time, from noise to images.

        dx = (r x - g^2 s) dt + g dw     the reverse SDE
        dx = (r x - g^2 s / 2) dt        its probability flow, with the same marginals

    The discrete step likewise has f - G^2 s and G, or f - G^2 s / 2 and 0.

    Args:
        sde: the equation.
        score_fn: (x [B, ...], t float32 [B]) -> score of x's shape.
        probability_flow: whether it is the flow.

    Source: Song et al. 2021 (arXiv:2011.13456), equations 6 and 13.

    Example:
        >>> from ncsn_tf import sde
        >>> flow = sde.VE(0.01, 50.0).reverse(lambda x, t: -x, probability_flow=True)
        >>> print(flow.drift(tf.ones([1, 1]), [0.5]).numpy().round(3))  # 0.5 log(50 / 0.01)
        [[4.259]]
        >>> flow.diffusion([0.5]).numpy().tolist()
        [0.0]
    """

    def __init__(self, sde: SDE, score_fn: Callable, probability_flow: bool = False) -> None:
        self.sde = sde
        self.score_fn = score_fn
        self.probability_flow = probability_flow

    def drift(self, x: tf.Tensor, t: Times) -> tf.Tensor:
        """Of x's shape; time still runs upwards, so that a step back subtracts it."""
        x, t = tf.convert_to_tensor(x), times(t)
        pull = self._share * tf.square(self.sde.diffusion(t))
        return self.sde.drift(x, t) - column(pull, x) * self.score_fn(x, t)

    def diffusion(self, t: Times) -> tf.Tensor:
        """float32 [B]."""
        g = self.sde.diffusion(t)
        return tf.zeros_like(g) if self.probability_flow else g

    def discretize(self, x: tf.Tensor, t: Times) -> tuple[tf.Tensor, tf.Tensor]:
        """(f, G): a step back is x - f + G z."""
        x, t = tf.convert_to_tensor(x), times(t)
        f, g = self.sde.discretize(x, t)
        f = f - column(self._share * tf.square(g), x) * self.score_fn(x, t)
        return f, tf.zeros_like(g) if self.probability_flow else g

    @property
    def _share(self):
        return 0.5 if self.probability_flow else 1.0


def times(t: Times) -> tf.Tensor:
    """Times as float32 [B]; a number is [1]."""
    return tf.reshape(tf.cast(tf.convert_to_tensor(t), tf.float32), [-1])


def check_positive(**values: float) -> None:
    """Raise a `ConfigError` unless all are positive numbers."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise ConfigError(f"{name} must be a positive number, not {value}")


def _times(rate, x):
    return tf.zeros_like(x) if rate is None else column(rate, x) * x
