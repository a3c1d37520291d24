"""What a network of a stochastic differential equation is trained on."""

from collections.abc import Callable

import tensorflow as tf

from ncsn_tf import losses
from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.errors import ConfigError
from ncsn_tf.schedule.sde import SDE, VE, SubVP, score_fn_of
from ncsn_tf.training.dequantization import dequantized


class DiffusionObjective:
    """The loss of a network at random times, or discrete steps, of an equation.

    continuous: `losses.diffusion_matching`, at times from 1e-5 to 1
    discrete:   `losses.level_matching` of VE, `losses.noise_matching` of VP, at steps 0 to N - 1

    Args:
        sde: the equation.
        continuous: whether the network is trained on all times.
        likelihood_weighting: whether the weight of a time is g^2, and not the noise's variance.
        reduce_mean: whether an example's squares are averaged, and not summed and halved.
        centered: whether the network sees images from -1 to 1, and not from 0 to 1.
        dequantize: whether an image becomes X * 255/256 + U[0, 1)/256 first.

    Raises:
        ConfigError: likelihood weighting, or the sub-VP SDE, of discrete steps.

    Example:
        >>> from ncsn_tf import sde
        >>> objective = DiffusionObjective(sde.VP(), reduce_mean=True, centered=True)
        >>> images, seeds, counters = tf.zeros([3, 8, 8, 1]), [7, 7, 7], (tf.range(3), 0)
        >>> losses, steps = objective.per_example(lambda x, t: 0.0 * x, images, seeds, counters)
        >>> losses.numpy().round(0).tolist(), steps.dtype.name
        ([1.0, 1.0, 1.0], 'int32')
    """

    def __init__(
        self,
        sde: SDE,
        continuous: bool = True,
        likelihood_weighting: bool = False,
        reduce_mean: bool = False,
        centered: bool = False,
        dequantize: bool = False,
    ):
        if not continuous and isinstance(sde, SubVP):
            raise ConfigError("a network of the sub-VP SDE is trained on continuous times only")
        if not continuous and likelihood_weighting:
            raise ConfigError("likelihood weighting is for training on continuous times")
        self.sde = sde
        self.continuous = continuous
        self.likelihood_weighting = likelihood_weighting
        self.reduce_mean = reduce_mean
        self.centered = centered
        self.dequantize = dequantize

    def per_example(
        self, network: Callable, images: tf.Tensor, seeds: tf.Tensor, counters: tuple
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss of each example at a time of its own.

        Args:
            network: (x [B, ...], condition [B]) -> output of x's shape.
            images: float32 [B, H, W, C] in [0, 1].
            seeds, counters: address of every draw, see `random`.

        Returns:
            losses float32 [B]; the discrete steps that they belong to, int32 [B]: labels of the
            network where it has them, else those of `SDE.index`.
        """
        if self.dequantize:
            images = dequantized(images, seeds, counters)
        if self.centered:
            images = 2.0 * images - 1.0
        noise = random.normal(seeds, images.shape[1:], Stream.PERTURBATION, counters)
        if self.continuous:
            t = losses.times_of(seeds, counters)
            values = losses.diffusion_matching(
                score_fn_of(network, self.sde, continuous=True),
                *(self.sde, images, t, noise, self.likelihood_weighting, self.reduce_mean),
            )
            return values, self.sde.index(t)
        steps = random.integers(seeds, self.sde.num_scales, Stream.LEVEL, counters)
        of_steps = losses.level_matching if isinstance(self.sde, VE) else losses.noise_matching
        return of_steps(network, self.sde, images, steps, noise, self.reduce_mean), steps
