"""The score of any equation as samplers of noise levels ask for it."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.backend.columns import column
from ncsn_tf.backend.compat import models_of
from ncsn_tf.schedule.ladders import static_sigmas
from ncsn_tf.schedule.sde.equation import SDE


class LadderScore:
    """The score of images under noise of a standard deviation sigma, from that of any equation.

    x(t) / m(t) is an image with noise of std(t) / m(t): every equation is the variance-exploding
    one of other units. So all that goes down a ladder of noise levels (`ald`, `cas`, `pc`, `ode`,
    completion, guidance, likelihoods) does with a network of any equation:

        s(y, sigma) = m(t) s(m(t) y, t),    t such that std(t) / m(t) = sigma

    Args:
        score_fn: (x [B, ...], t float32 [B]) -> score of x's shape, see `score_fn_of`.
        sde: the equation.
        sigmas: float32 [L], falling noise levels, for callers that name a level; in units of images
            from 0 to 1.
        centered: whether the network sees images from -1 to 1, twice the units.

    Attributes:
        models: the networks that it uses, for `backend.compat.read_weights`.

    Source: Karras et al. 2022 (arXiv:2206.00364), equation 4, for the change of units.

    Example:
        >>> from ncsn_tf import sde
        >>> from ncsn_tf.sampling import consistent_annealing
        >>> equation, sigmas = sde.VP(), [2.0, 0.5, 0.1]
        >>> def score_fn(x, t):  # of images that are 0.5 all over
        ...     mean, std = equation.marginal(tf.fill(x.shape, 0.5), t)
        ...     return (mean - x) / std[:, None] ** 2
        >>> score = LadderScore(score_fn, equation, sigmas)
        >>> x = consistent_annealing(score, [1, 2], (2,), sigmas, 0.009, 5, denoise=True)
        >>> print(x.numpy().round(3)[0])
        [0.5 0.5]
    """

    def __init__(
        self,
        score_fn: Callable,
        sde: SDE,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        centered: bool = False,
    ) -> None:
        self.score_fn = score_fn
        self.sde = sde
        self.sigmas = static_sigmas(sigmas)
        self.centered = centered
        self.models = models_of(score_fn)

    def __call__(self, x: tf.Tensor, levels: tf.Tensor, *labels: tf.Tensor) -> tf.Tensor:
        """The score at each example's level, int32 [B]; of its class, with labels int32 [B]."""
        return self.at_sigma(x, tf.gather(tf.constant(self.sigmas), levels), *labels)

    def at_sigma(self, x: tf.Tensor, sigma: tf.Tensor, *labels: tf.Tensor) -> tf.Tensor:
        """The score of x [B, ...] at each example's sigma, float32 [B]; labels as above."""
        unit = 2.0 if self.centered else 1.0
        x, t = tf.convert_to_tensor(x), self.sde.time(unit * sigma)
        y = 2.0 * x - 1.0 if self.centered else x
        scale = self.sde.mean_scale(t)
        if scale is None:
            return unit * self.score_fn(y, t, *labels)
        scale = column(scale, y)
        return unit * scale * self.score_fn(scale * y, t, *labels)
