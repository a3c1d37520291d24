"""Sampling along the probability-flow ODE."""

import math

import tensorflow as tf

from ncsn_tf.langevin import at_level, at_sigma, level_middles
from ncsn_tf.ode import ODE_DTYPES, ode_advance, ode_start
from ncsn_tf.sampling import Chain, column
from ncsn_tf.sde import prior


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
            `langevin.at_sigma`). Steps end there, which costs at least as many of them as there are
            levels; without, they are shortened until the jump counts for nothing.

    Source: Song et al. 2021 (arXiv:2011.13456), section 4.3 and appendix D.
    """

    SEGMENTS = 20
    dtypes = ODE_DTYPES

    def __init__(self, sigmas, denoise=False, rtol=1e-5, atol=1e-5, jumps=False):
        super().__init__(sigmas, denoise)
        self.rtol = rtol
        self.atol = atol
        self.jumps = jumps
        self.end = math.log(self.sigmas[0] / self.sigmas[-1])
        if not self.end > 0:
            raise ValueError("the probability flow needs at least two noise levels")

    def num_steps(self, num_steps_each):
        return self.SEGMENTS

    def start(self, seeds, image_shape):
        return ode_start(prior(seeds, image_shape, self.sigmas[0]))

    def advance(self, score_fn, state, rows, start, stop):
        score_at = at_sigma(score_fn, self.sigmas)

        def slope(time, x, piece):
            sigma = self.sigmas[0] * tf.exp(-time)
            if self.jumps:
                score = at_level(score_fn, self.sigmas, x, sigma, piece)
            else:
                score = score_at(x, sigma)
            return column(tf.square(sigma), x) * score

        state = state._replace(time=tf.where(rows.num_steps_each > 0, state.time, self.end))
        until = self.end * tf.cast(stop, tf.float32) / self.SEGMENTS
        until = tf.minimum(until, self.end)
        middles = level_middles(self.sigmas) if self.jumps else []
        jumps = [math.log(self.sigmas[0] / middle) for middle in middles]
        return ode_advance(slope, state, until, self.end, self.rtol, self.atol, jumps=jumps)

    def images(self, state):
        return state.y

    def evaluations(self, state):
        return state.evaluations

    def num_evaluations(self, num_steps_each):
        return None
