"""Routes from noise to images: by a ladder of levels, or by any equation.

A chain knows its places by an index, a solver of the flow by a time; the route says what noise is
there and what the score is. So each sampler is written once.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.errors import ConfigError
from ncsn_tf.sampling.levels import (
    at_sigma,
    flow_score,
    ladder_length,
    ladder_sigma,
    level_middles,
)
from ncsn_tf.sampling.updates import Update, default_epsilon, fall_update, predictor_update
from ncsn_tf.schedule import static_sigmas
from ncsn_tf.schedule.sde import SDE, score_fn_of


class Place(NamedTuple):
    """A point of a route.

    Attributes:
        score: x -> score there.
        mean_scale: float32 [B], what an image is multiplied with there; None is 1.
        std: float32 [B], standard deviation of the noise there.
        alpha: () -> float32 [B], see `SDE.alpha`, which correctors alone ask for; None is 1.
    """

    score: Callable
    mean_scale: tf.Tensor | None
    std: tf.Tensor
    alpha: Callable


class LadderRoute:
    """From level to level of the variance-exploding SDE, n steps from each to the next.

    The score function is (x, levels int32 [B]) -> score, see `levels.at_sigma`. x is an image from
    0 to 1 under noise, and begins at N(1/2, sigma_1^2). The last point is the last level, from
    which a predictor goes nowhere.

    Args:
        sigmas: float32 [L], falling noise levels, known when the route is made.

    Attributes:
        sigmas: float32 array [L].
        ends_at_rest: whether the last predictor goes nowhere.
        end: time that the flow takes, log(sigma_1 / sigma_L).

    Example:
        >>> route = LadderRoute([1.0, 0.5, 0.25])
        >>> route.num_points(2), round(route.end, 3)
        (5, 1.386)
    """

    ends_at_rest = True

    def __init__(self, sigmas: Sequence[float] | np.ndarray | tf.Tensor) -> None:
        self.sigmas = static_sigmas(sigmas)
        self.end = math.log(self.sigmas[0] / self.sigmas[-1])

    def num_points(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        """Points of a chain of n steps a level; none for n = 0."""
        return ladder_length(len(self.sigmas), num_steps_each)

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
        """x at the first point, float32 [B, *image_shape]."""
        return prior(seeds, image_shape, self.sigmas[0])

    def place(self, score_fn: Callable, num_steps_each: tf.Tensor, index: tf.Tensor) -> Place:
        """Point `index` (scalar int32) for images of that many steps, int32 [B]."""
        sigma = ladder_sigma(self.sigmas, num_steps_each, index)
        score = at_sigma(score_fn, self.sigmas)
        return Place(lambda x: score(x, sigma), None, sigma, lambda: None)

    def prediction(self, predictor: str, num_steps_each: tf.Tensor, index: tf.Tensor) -> Update:
        """The predictor's update at point `index`."""
        sigma, following = (
            ladder_sigma(self.sigmas, num_steps_each, k) for k in (index, index + 1)
        )
        return fall_update(predictor, sigma, following)

    def images(self, x: tf.Tensor) -> tf.Tensor:
        """Images from 0 to 1, not clipped, of x."""
        return x

    def states(self, images: tf.Tensor) -> tf.Tensor:
        """x of images from 0 to 1."""
        return images

    def from_noise(self, time: tf.Tensor) -> tf.Tensor:
        """Where the flow is that has come from the noise for a time [B]: sigma."""
        return self.sigmas[0] * tf.exp(-time)

    def from_images(self, time: tf.Tensor) -> tf.Tensor:
        """Where the flow is that has come from the images for a time [B]: sigma."""
        return self.sigmas[-1] * tf.exp(time)

    def flow(self, sigma: tf.Tensor) -> tuple[None, tf.Tensor]:
        """(r, h) of the flow dx = (r x - h s) dt there; r is None where it is 0."""
        return None, tf.square(sigma)

    def flow_score(self, score_fn: Callable, jumps: bool) -> Callable:
        """(x, sigma [B], level int32 [B]) -> score, see `levels.flow_score`."""
        return flow_score(score_fn, self.sigmas, jumps)

    def jump_times(self, from_noise: bool) -> list[float]:
        """When the flow, coming from the noise or from the images, passes from level to level."""
        middles = level_middles(self.sigmas)
        if from_noise:
            return [math.log(self.sigmas[0] / middle) for middle in middles]
        return [math.log(middle / self.sigmas[-1]) for middle in middles[::-1]]


class SdeRoute:
    """Down the time of an equation: N points, evenly from t = 1 to epsilon.

    At each point a predictor steps by 1 / N, at the last one too, whose mean is the result where
    noise is removed. The number of steps is the equation's `num_scales`: a chain's `num_steps_each`
    is 1, or 0 for images that are not drawn.

    Args:
        sde: the equation.
        epsilon: the last time; None is 1e-5 for VE, 1e-3 for the others. A likelihood wants 1e-5.
        continuous: whether what is called is a network of all times, or of discrete steps, see
            `ncsn_tf.sde.score_fn_of`; None: it is a score function (x, t [B]) -> score.
        centered: whether the network sees images from -1 to 1, and not from 0 to 1.

    Attributes:
        sigmas: float32 array [N], standard deviation of the noise at each point.
        ends_at_rest, end: as those of `LadderRoute`.

    Raises:
        ConfigError: epsilon that is not between 0 and 1.

    Example:
        >>> from ncsn_tf import sde
        >>> route = SdeRoute(sde.VP(num_scales=50))
        >>> route.num_points(1), round(route.end, 3)
        (50, 0.999)
    """

    ends_at_rest = False

    def __init__(
        self,
        sde: SDE,
        epsilon: float | None = None,
        continuous: bool | None = None,
        centered: bool = False,
    ) -> None:
        self.sde = sde
        self.epsilon = default_epsilon(sde) if epsilon is None else float(epsilon)
        if not 0.0 < self.epsilon < 1.0:
            raise ConfigError(f"the last time must be between 0 and 1, not {epsilon}")
        self.continuous = continuous
        self.centered = centered
        self.grid = sde.grid(self.epsilon)
        with tf.init_scope():  # known also where a graph is being made
            self.sigmas = sde.std(self.grid).numpy()
        self.end = 1.0 - self.epsilon

    def num_points(self, num_steps_each: int | tf.Tensor) -> int | tf.Tensor:
        some = tf.minimum(num_steps_each, 1) if tf.is_tensor(num_steps_each) else num_steps_each
        return self.sde.num_scales * (some if tf.is_tensor(some) else min(some, 1))

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
        return self.sde.prior(seeds, image_shape)

    def place(self, score_fn: Callable, num_steps_each: tf.Tensor, index: tf.Tensor) -> Place:
        t, score = self._times(num_steps_each, index), self._score(score_fn)
        sde = self.sde
        alpha = functools.partial(sde.alpha, t)
        return Place(lambda x: score(x, t), sde.mean_scale(t), sde.std(t), alpha)

    def prediction(self, predictor: str, num_steps_each: tf.Tensor, index: tf.Tensor) -> Update:
        return predictor_update(predictor, self.sde, self._times(num_steps_each, index))

    def images(self, x: tf.Tensor) -> tf.Tensor:
        return 0.5 * (x + 1.0) if self.centered else x

    def states(self, images: tf.Tensor) -> tf.Tensor:
        return 2.0 * images - 1.0 if self.centered else images

    def denoised(self, score_fn: Callable, x: tf.Tensor) -> tf.Tensor:
        """x at the last time without its noise: the mean of a reverse diffusion step."""
        t = tf.fill(tf.shape(x)[:1], np.float32(self.epsilon))
        update = predictor_update("reverse", self.sde, t)
        return update.move(x, self._score(score_fn)(x, t), tf.zeros_like(x))[1]

    def from_noise(self, time: tf.Tensor) -> tf.Tensor:
        return 1.0 - time

    def from_images(self, time: tf.Tensor) -> tf.Tensor:
        return self.epsilon + time

    def flow(self, t: tf.Tensor) -> tuple[tf.Tensor | None, tf.Tensor]:
        return self.sde.rate(t), 0.5 * tf.square(self.sde.diffusion(t))

    def flow_score(self, score_fn: Callable, jumps: bool) -> Callable:
        score = self._score(score_fn)
        return lambda x, t, level: score(x, t)

    def jump_times(self, from_noise: bool) -> list[float]:
        raise ConfigError("jumps are those between the levels of a ladder; an equation has none")

    def _times(self, like, index):
        """t of a point for each image."""
        last = self.sde.num_scales - 1
        return tf.fill(tf.shape(like), tf.gather(tf.constant(self.grid), tf.minimum(index, last)))

    def _score(self, score_fn):
        if self.continuous is None:
            return score_fn
        return score_fn_of(score_fn, self.sde, self.continuous)


Route = LadderRoute | SdeRoute
Levels = Sequence[float] | np.ndarray | tf.Tensor | SDE | LadderRoute | SdeRoute


def route_of(levels: Levels) -> Route:
    """The route of a ladder of levels [L] or of an equation; a route is itself.

    Example:
        >>> from ncsn_tf import sde
        >>> [type(route_of(what)).__name__ for what in ([1.0, 0.1], sde.VP())]
        ['LadderRoute', 'SdeRoute']
    """
    if isinstance(levels, LadderRoute | SdeRoute):
        return levels
    return SdeRoute(levels) if isinstance(levels, SDE) else LadderRoute(levels)


def prior(seeds: tf.Tensor, image_shape: Sequence[int], sigma: float) -> tf.Tensor:
    """N(1/2, sigma^2), the middle of the images' range under noise: float32 [B, *image_shape]."""
    return 0.5 + sigma * random.normal(seeds, tuple(image_shape), Stream.INITIAL_STATE)
