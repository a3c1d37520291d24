"""The variance-preserving equation and the one whose variance is always below its."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ncsn_tf.backend.columns import column
from ncsn_tf.errors import ConfigError
from ncsn_tf.schedule.sde.equation import SDE, Times, check_positive, times

# Networks of continuous times have always been given 999 t, whatever the number of steps.
_TIME_SCALE = 999.0


class VP(SDE):
    """The variance-preserving SDE, the limit of DDPM.

        beta(t) = beta_min + t (beta_max - beta_min)
        a(t) = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2
        x(t) = exp(a) x(0) + sqrt(1 - exp(2a)) z,    r = -beta / 2,    g = sqrt(beta)

    Its discrete step i, of beta_i evenly from beta_min / N to beta_max / N, has f = (sqrt(1 -
    beta_i) - 1) x, G = sqrt(beta_i).

    1 - exp(2a) is computed by expm1. The released code subtracts, which at t = 0.001 is off by 1e-4
    in float32 and at t = 1e-5 by 0.6 % (`SubVP`: 2e-4 and 1.2 %), so that what is divided by the
    standard deviation differs from it by that much. The tables of the discrete steps are computed
    in float64 and rounded once, for the same reason.

    Args:
        beta_min, beta_max: 0 < beta_min < beta_max.
        num_scales: N, discrete steps. Above beta_max, or else beta_N would not be below 1 and what
            needs beta_i is refused: `discretize`, `ancestral`, `alpha`, and networks of discrete
            steps. The continuous equation has Euler-Maruyama steps of any number.

    Attributes:
        betas: float32 array [N], rising.
        sqrt_alphas_cumprod, sqrt_1m_alphas_cumprod: float32 arrays [N], scale of the image and
            standard deviation of the noise after discrete step i.

    Raises:
        ConfigError: other values; later, too few steps, see above.

    Source: Song et al. 2021 (arXiv:2011.13456), equation 11 and appendix C; Ho et al. 2020
        (arXiv:2006.11239).

    Example:
        >>> equation = VP(0.1, 20.0, num_scales=1000)
        >>> print(equation.std([1e-5, 1.0]).numpy().round(6), equation.betas[[0, -1]])
        [0.001    0.999978] [0.0001 0.02  ]
    """

    name = "variance-preserving"

    def __init__(
        self, beta_min: float = 0.1, beta_max: float = 20.0, num_scales: int = 1000
    ) -> None:
        check_positive(beta_min=beta_min, beta_max=beta_max)
        if not beta_min < beta_max:
            raise ConfigError(f"beta_min ({beta_min}) must be below beta_max ({beta_max})")
        super().__init__(num_scales)
        self.beta_min = float(beta_min)
        self.beta_max = float(beta_max)

    @functools.cached_property
    def betas(self) -> np.ndarray:
        return self._wide_betas.astype(np.float32)

    @functools.cached_property
    def sqrt_alphas_cumprod(self) -> np.ndarray:
        return np.exp(0.5 * self._log_alphas_cumprod).astype(np.float32)

    @functools.cached_property
    def sqrt_1m_alphas_cumprod(self) -> np.ndarray:
        return np.sqrt(-np.expm1(self._log_alphas_cumprod)).astype(np.float32)

    def beta(self, t: Times) -> tf.Tensor:
        """beta(t), float32 [B]."""
        return self.beta_min + times(t) * (self.beta_max - self.beta_min)

    def log_mean_scale(self, t: Times) -> tf.Tensor:
        """a(t), float32 [B]."""
        t = times(t)
        return -0.25 * tf.square(t) * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def mean_scale(self, t: Times) -> tf.Tensor:
        return tf.exp(self.log_mean_scale(t))

    def std(self, t: Times) -> tf.Tensor:
        return tf.sqrt(-tf.math.expm1(2.0 * self.log_mean_scale(t)))

    def time(self, sigma: Times) -> tf.Tensor:
        return self._time_of(0.5 * tf.math.log1p(tf.square(times(sigma))))

    def rate(self, t: Times) -> tf.Tensor:
        return -0.5 * self.beta(t)

    def diffusion(self, t: Times) -> tf.Tensor:
        return tf.sqrt(self.beta(t))

    def discrete_rate(self, t: Times) -> tf.Tensor:
        return self._at(np.sqrt(1.0 - self._wide_betas) - 1.0, t)

    def discrete_diffusion(self, t: Times) -> tf.Tensor:
        return self._at(np.sqrt(self._wide_betas), t)

    def ancestral(self, t: Times) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        betas = self._wide_betas
        growths = np.sqrt(1.0 - betas)
        return tuple(
            self._at(table, t) for table in (1.0 / growths, betas / growths, np.sqrt(betas))
        )

    def alpha(self, t: Times) -> tf.Tensor:
        return self._at(1.0 - self._wide_betas, t)

    def condition(self, t: Times, continuous: bool) -> tf.Tensor:
        return times(t) * _TIME_SCALE if continuous else self.label(t)

    def network_score(
        self, network: Callable, x: tf.Tensor, t: Times, continuous: bool
    ) -> tf.Tensor:
        condition = self.condition(t, continuous)
        if continuous:
            std = self.std(t)
        else:
            std = tf.gather(tf.constant(self.sqrt_1m_alphas_cumprod), tf.cast(condition, tf.int32))
        return -network(x, condition) / column(std, x)

    def label(self, t: Times) -> tf.Tensor:
        """What a network of discrete steps is told: t (N - 1), float32 [B], not rounded."""
        return times(t) * float(self.num_scales - 1)

    @functools.cached_property
    def _wide_betas(self):
        """beta_i in float64."""
        count = self.num_scales
        if not count > self.beta_max:
            raise ConfigError(
                f"num_scales ({count}) must be above beta_max ({self.beta_max:g}) for the discrete "
                f"steps of the {self.name} SDE"
            )
        return np.linspace(self.beta_min / count, self.beta_max / count, count)

    @functools.cached_property
    def _log_alphas_cumprod(self):
        return np.cumsum(np.log1p(-self._wide_betas))

    def _time_of(self, fall):
        """t at which a(t) is -fall, the root of a quadratic equation."""
        slope, half = self.beta_max - self.beta_min, 0.5 * self.beta_min
        return 2.0 * fall / (half + tf.sqrt(half**2 + slope * fall))

    def _at(self, table, t):
        return tf.gather(tf.constant(table, tf.float32), self.index(t))


class SubVP(VP):
    """The sub-VP SDE: drift and mean of `VP`, less noise, the same prior.

        x(t) = exp(a) x(0) + (1 - exp(2a)) z,    g = sqrt(beta (1 - exp(4a)))

    Its discrete step has f = r(t) x / N, G = g(t) / sqrt(N). There is no ancestral sampling of it.
    Correctors take the alpha of `VP`, the released code has none. Networks of it are always
    continuous in time.

    Arguments, attributes and errors are those of `VP`.

    Source: Song et al. 2021 (arXiv:2011.13456), equation 12 and appendix C.

    Example:
        >>> t = [0.1, 1.0]
        >>> bool(tf.reduce_all(SubVP().std(t) < VP().std(t)))
        True
    """

    name = "sub-VP"

    def std(self, t: Times) -> tf.Tensor:
        return -tf.math.expm1(2.0 * self.log_mean_scale(t))

    def time(self, sigma: Times) -> tf.Tensor:
        return self._time_of(tf.math.asinh(0.5 * times(sigma)))

    def diffusion(self, t: Times) -> tf.Tensor:
        return tf.sqrt(self.beta(t) * -tf.math.expm1(4.0 * self.log_mean_scale(t)))

    def discrete_rate(self, t: Times) -> tf.Tensor:
        return self.rate(t) / self.num_scales

    def discrete_diffusion(self, t: Times) -> tf.Tensor:
        return self.diffusion(t) * self.num_scales**-0.5

    def ancestral(self, t: Times) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return SDE.ancestral(self, t)

    def condition(self, t: Times, continuous: bool) -> tf.Tensor:
        return super().condition(t, continuous=True)

    def network_score(
        self, network: Callable, x: tf.Tensor, t: Times, continuous: bool
    ) -> tf.Tensor:
        return super().network_score(network, x, t, continuous=True)
