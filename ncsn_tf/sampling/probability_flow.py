"""Sampling along the probability-flow ODE."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ncsn_tf.sampling.chain import Chain, Rows, column, draw
from ncsn_tf.sampling.levels import flow_score, level_middles
from ncsn_tf.sampling.ode import ODE_DTYPES, OdeState, ode_advance, ode_start
from ncsn_tf.sampling.predictor_corrector import prior


def probability_flow(
    score_fn: Callable,
    seeds: Sequence[int] | np.ndarray | tf.Tensor,
    image_shape: Sequence[int],
    sigmas: Sequence[float] | np.ndarray | tf.Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    jumps: bool = False,
    denoise: bool = False,
    clip: bool = True,
    tile: int | None = None,
) -> tf.Tensor:
    """Draw images along the probability flow: `ProbabilityFlow` as a function.

    Args:
        score_fn, seeds, image_shape, sigmas: see `annealed_langevin`.
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
    """Probability-flow ODE of the variance-exploding SDE: x_0 ~ N(1/2, sigma_1^2), then

        dx / dt = sigma^2 s(x, sigma),    sigma(t) = sigma_1 exp(-t), from sigma_1 to sigma_L,

    by an adaptive Runge-Kutta method. Its only randomness is x_0. The state is an `OdeState`; a
    "step" of this chain is one of `SEGMENTS` equal parts of the time, whatever the number of steps
    that the rows ask for. Rows of none do not move.

    Args:
        sigmas, denoise: see `Chain`.
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
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        denoise: bool = False,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        jumps: bool = False,
    ) -> None:
        super().__init__(sigmas, denoise)
        self.rtol = rtol
        self.atol = atol
        self.jumps = jumps
        self.end = math.log(self.sigmas[0] / self.sigmas[-1])
        if not self.end > 0:
            raise ValueError("the probability flow needs at least two noise levels")

    def num_steps(self, num_steps_each: int | tf.Tensor) -> int:
        return self.SEGMENTS

    def start(self, seeds: tf.Tensor, image_shape: Sequence[int]) -> OdeState:
        return ode_start(prior(seeds, image_shape, self.sigmas[0]))

    def advance(
        self,
        score_fn: Callable,
        state: OdeState,
        rows: Rows,
        start: int | tf.Tensor,
        stop: int | tf.Tensor,
    ) -> OdeState:
        score_at = flow_score(score_fn, self.sigmas, self.jumps)

        def slope(time, x, piece):  # the levels are passed in their order: piece k is level k
            sigma = self.sigmas[0] * tf.exp(-time)
            score = score_at(x, sigma, piece)
            return column(tf.square(sigma), x) * score

        state = state._replace(time=tf.where(rows.num_steps_each > 0, state.time, self.end))
        until = self.end * tf.cast(stop, tf.float32) / self.SEGMENTS
        until = tf.minimum(until, self.end)
        middles = level_middles(self.sigmas) if self.jumps else []
        jumps = [math.log(self.sigmas[0] / middle) for middle in middles]
        return ode_advance(slope, state, until, self.end, self.rtol, self.atol, jumps=jumps)

    def images(self, state: OdeState) -> tf.Tensor:
        return state.y

    def evaluations(self, state: OdeState) -> tf.Tensor:
        return state.evaluations

    def num_evaluations(self, num_steps_each: int) -> None:
        return None
