"""Sampling along the probability-flow ODE of a ladder of levels or of any equation."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.sampling.chain import Chain, Rows, column, draw
from ncsn_tf.sampling.ode import ODE_DTYPES, OdeState, ode_advance, ode_start
from ncsn_tf.sampling.routes import Levels, SdeRoute, route_of


def probability_flow(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Levels,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    jumps: bool = False,
    denoise: bool = False,
    clip: bool = True,
    tile: int | None = None,
) -> tf.Tensor:
    """Draw images along the probability flow: `ProbabilityFlow` as a function.

    Args:
        score_fn, seeds, image_shape: see `annealed_langevin`; with an equation the score function
            is (x, t [B]) -> score.
        sigmas: falling noise levels, an equation (`ncsn_tf.sde`) or a route, see `routes`.
        rtol, atol, jumps: see `ProbabilityFlow`.
        denoise, clip, tile: see `Chain` and `draw`.

    Returns:
        float32 [B, *image_shape].

    Example:
        >>> from ncsn_tf.toy.densities import GaussianMixture
        >>> density, sigmas = GaussianMixture([1.0], [[0.5, 0.5]], 0.01), [0.3, 0.1]
        >>> x = probability_flow(density.score_fn(sigmas), range(200), (2,), sigmas, 1e-2, 1e-2)
        >>> tuple(x.shape), [round(mean, 1) for mean in x.numpy().mean(0).tolist()]
        ((200, 2), [0.5, 0.5])
    """
    chain = ProbabilityFlow(sigmas, denoise, rtol, atol, jumps)
    return draw(chain, score_fn, Rows.fill(seeds, 0.0, 1), image_shape, clip, tile)


class ProbabilityFlow(Chain):
    """Probability-flow ODE. Of a ladder of levels: x_0 ~ N(1/2, sigma_1^2), then

        dx / dt = sigma^2 s(x, sigma),    sigma(t) = sigma_1 exp(-t), from sigma_1 to sigma_L

    and of an equation, from t = 1 down to epsilon, see `routes.SdeRoute`: x_0 of its prior, then

        dx / dt = r(t) x - g(t)^2 s(x, t) / 2,    at the end, if asked for, a denoising step

    by an adaptive Runge-Kutta method. Its only randomness is x_0. The state is an `OdeState`; a
    "step" of this chain is one of `SEGMENTS` equal parts of the time, whatever the number of steps
    that the rows ask for. Rows of none do not move.

    Args:
        sigmas: falling noise levels, an equation (`ncsn_tf.sde`) or a route, see `routes`.
        denoise: see `Chain`.
        rtol, atol: tolerances of a step.
        jumps: whether the score jumps half-way between levels in log sigma, as NCSN's does (see
            `levels.at_sigma`). Steps end there, which costs at least as many of them as there are
            levels; without, they are shortened until the jump counts for nothing.

    Raises:
        ValueError: fewer than two levels.

    Source: Song et al. 2021 (arXiv:2011.13456), section 4.3 and appendix D.

    Example:
        >>> flow = ProbabilityFlow([1.0, 0.3, 0.1], rtol=1e-3, atol=1e-3)
        >>> flow.num_steps(10), flow.num_evaluations(10)  # as many as the tolerance asks for
        (20, None)
    """

    SEGMENTS = 20
    dtypes = ODE_DTYPES

    def __init__(
        self,
        sigmas: Levels,
        denoise: bool = False,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        jumps: bool = False,
    ) -> None:
        self.route = route_of(sigmas)
        super().__init__(self.route.sigmas, denoise)
        self.rtol = rtol
        self.atol = atol
        self.jumps = jumps
        self.end = self.route.end
        if not self.end > 0:
            raise ValueError("the probability flow needs at least two noise levels")
        self._jump_times = self.route.jump_times(from_noise=True) if jumps else []

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int:
        return self.SEGMENTS

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> OdeState:
        return ode_start(self.route.start(seeds, image_shape))

    def advance(
        self,
        score_fn: Callable,
        state: OdeState,
        rows: Rows,
        start: int | tf.Tensor,
        stop: int | tf.Tensor,
    ) -> OdeState:
        score_at = self.route.flow_score(score_fn, self.jumps)

        def slope(time, x, piece):  # the levels are passed in their order: piece k is level k
            place = self.route.from_noise(time)
            score = score_at(x, place, piece)
            rate, pull = self.route.flow(place)
            moved = column(pull, x) * score
            return moved if rate is None else moved - column(rate, x) * x

        state = state._replace(time=tf.where(rows.num_steps_each > 0, state.time, self.end))
        until = self.end * tf.cast(stop, tf.float32) / self.SEGMENTS
        until = tf.minimum(until, self.end)
        return ode_advance(
            slope, state, until, self.end, self.rtol, self.atol, jumps=self._jump_times
        )

    def finish(self, score_fn: Callable, state: OdeState, rows: Rows) -> tf.Tensor:
        if not isinstance(self.route, SdeRoute):
            return super().finish(score_fn, state, rows)
        x = self.route.denoised(score_fn, state.y) if self.denoise else state.y
        return self.route.images(x)

    def images(self, state: OdeState) -> tf.Tensor:
        return self.route.images(state.y)

    def evaluations(self, state: OdeState) -> tf.Tensor:
        return state.evaluations

    def num_evaluations(self, num_steps_each: int) -> None:
        return None
