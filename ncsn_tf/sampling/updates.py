"""One update of an image, as a function of (x, its score, noise) for any equation.

All predictors and correctors are of one form, with numbers of each image:

    mean = a x + b s(x),    x <- mean + c z

Source: Song et al. 2021 (arXiv:2011.13456), appendices E, F and G, and its released code.
"""

from typing import NamedTuple

import tensorflow as tf

from ncsn_tf.backend.columns import column
from ncsn_tf.schedule.sde import SDE, VE
from ncsn_tf.schedule.sde.equation import Times


class Update(NamedTuple):
    """The numbers of an update, float32 [B] each.

    Attributes:
        keep: a, or None where it is 1.
        push: b.
        spread: c, not negative.

    Example:
        >>> update = Update(tf.constant([0.5]), tf.constant([1.0]), tf.constant([2.0]))
        >>> x, mean = update.move(tf.constant([[4.0]]), tf.constant([[1.0]]), tf.constant([[3.0]]))
        >>> x.numpy().tolist(), mean.numpy().tolist()
        ([[9.0]], [[3.0]])
        >>> update.of_flow().push.numpy().tolist(), update.of_flow().spread.numpy().tolist()
        ([0.5], [0.0])
    """

    keep: tf.Tensor | None
    push: tf.Tensor
    spread: tf.Tensor

    def move(self, x: tf.Tensor, score: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(x after the update, its mean without the update's noise)."""
        kept = x if self.keep is None else column(self.keep, x) * x
        mean = kept + column(self.push, x) * score
        # Subtracted with the sign turned: TensorFlow regroups the terms of a sum, and not alike in
        # every graph.
        return mean - column(-self.spread, x) * noise, mean

    def of_flow(self) -> "Update":
        """The same step along the probability flow: half of the score, no noise."""
        return Update(self.keep, 0.5 * self.push, tf.zeros_like(self.spread))


def predictor_update(predictor: str, sde: SDE, t: Times) -> Update:
    """A step back in time by one of the predictors.

        euler       Euler-Maruyama, of 1 / N:   x - (r x - g^2 s) / N,    noise g / sqrt(N)
        reverse     reverse diffusion:          x - (f - G^2 s),          noise G
        ancestral   VE: x + (sigma_i^2 - sigma_{i-1}^2) s, noise sqrt of that times sigma_{i-1} /
                    sigma_i;  VP: (x + beta_i s) / sqrt(1 - beta_i), noise sqrt(beta_i)

    Args:
        predictor: "euler", "reverse" or "ancestral".
        sde: the equation.
        t: float32 [B], times.

    Raises:
        ConfigError: ancestral steps of an equation that has none (sub-VP).

    Example:
        >>> from ncsn_tf import sde
        >>> update = predictor_update("reverse", sde.VE(0.1, 1.0, num_scales=2), [1.0, 0.0])
        >>> print(update.keep, update.push.numpy(), update.spread.numpy().round(3))
        None [0.99 0.01] [0.995 0.1  ]
    """
    if predictor == "ancestral":
        return Update(*sde.ancestral(t))
    if predictor == "euler":
        step = 1.0 / sde.num_scales
        rate, g = sde.rate(t), sde.diffusion(t)
        keep = None if rate is None else 1.0 - step * rate
        return Update(keep, step * tf.square(g), step**0.5 * g)
    rate, g = sde.discrete_rate(t), sde.discrete_diffusion(t)
    return Update(None if rate is None else 1.0 - rate, tf.square(g), g)


def fall_update(predictor: str, sigma: tf.Tensor, following: tf.Tensor) -> Update:
    """A step of the variance-exploding SDE from a noise level to any lower one.

    What `predictor_update` does at sigma, on a ladder whose next level is `following`; "euler" is
    the step of 2 sigma^2 log(sigma / following).

    Args:
        predictor: "euler", "reverse" or "ancestral".
        sigma, following: float32 [B]; where they are equal, nothing moves.

    Example:
        >>> update = fall_update("reverse", tf.constant([1.0]), tf.constant([0.6]))
        >>> print(update.push.numpy(), update.spread.numpy())
        [0.64] [0.8]
    """
    if predictor == "euler":
        fall = 2.0 * tf.square(sigma) * tf.math.log(sigma / following)
        return Update(None, fall, tf.sqrt(fall))
    fall = tf.square(sigma) - tf.square(following)
    variance = fall
    if predictor == "ancestral":
        variance = fall * tf.square(following / sigma)
    return Update(None, fall, tf.sqrt(variance))


def corrector_update(snr: float, scale: tf.Tensor, alpha: tf.Tensor | None = None) -> Update:
    """A step of Langevin dynamics, e = 2 alpha (snr scale)^2: x + e s, noise sqrt(2 e).

    Args:
        snr: signal-to-noise ratio.
        scale: float32 [B]: the standard deviation of the noise in x for annealed Langevin dynamics,
            |z| / |s| for a step by norms.
        alpha: float32 [B], see `SDE.alpha`; None is 1.

    Example:
        >>> update = corrector_update(0.5, tf.constant([1.0, 2.0]))
        >>> update.push.numpy().tolist(), update.spread.numpy().tolist()
        ([0.5, 2.0], [1.0, 2.0])
    """
    size = 2.0 * tf.square(snr * scale)
    if alpha is not None:
        size = alpha * size
    return Update(None, size, tf.sqrt(2.0 * size))


def norms(x: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of each image: [B]."""
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=list(range(1, x.shape.rank))))


def default_epsilon(sde: SDE) -> float:
    """The time at which chains end: 1e-5 for VE, 1e-3 for the others.

    Example:
        >>> from ncsn_tf import sde
        >>> default_epsilon(sde.VE()), default_epsilon(sde.VP())
        (1e-05, 0.001)
    """
    return 1e-5 if isinstance(sde, VE) else 1e-3
