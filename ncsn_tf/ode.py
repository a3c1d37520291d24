"""Ordinary differential equations, an adaptive step size for each member of a batch."""

from typing import NamedTuple

import tensorflow as tf

from ncsn_tf.sampling import column

# Dormand & Prince 1980: nodes, stages, and the difference of the fifth and fourth order results.
# The last stage is the fifth order result, so that its derivative is the next step's first.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_FIRST_STEP = 0.01  # of the whole interval
_SMALLEST_STEP = 1e-4
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 5.0


class OdeState(NamedTuple):
    """A batch on its way; each member has its own time.

    Attributes:
        y: float32 [B, ...].
        time: float32 [B], from 0.
        step: float32 [B], the length to try next.
        slope: dy/dt at y.
        evaluations: int32 [B], of the right-hand side.
    """

    y: tf.Tensor
    time: tf.Tensor
    step: tf.Tensor
    slope: tf.Tensor
    evaluations: tf.Tensor


ODE_DTYPES = OdeState(tf.float32, tf.float32, tf.float32, tf.float32, tf.int32)


def ode_start(y):
    """The state at time 0; its slope is evaluated by the first call of `ode_advance`."""
    zeros = tf.zeros(tf.shape(y)[:1])
    return OdeState(y, zeros, zeros, tf.zeros_like(y), tf.zeros_like(zeros, tf.int32))


def root_mean_square(ratios):
    """Over each member: [B, ...] -> [B]."""
    return tf.sqrt(tf.reduce_mean(tf.square(ratios), axis=list(range(1, ratios.shape.rank))))


def ode_advance(slope_fn, state, until, end, rtol, atol, norm=root_mean_square, jumps=()):
    """Integrate dy/dt = slope_fn(t, y, piece) by the Dormand-Prince method of orders 5(4).

    Every member has its own step size, from its own error

        norm(error / (atol + rtol max(|y_old|, |y_new|))) <= 1,

    so that the result of one does not depend on the others. Steps are not cut at `until`, so that
    neither does it depend on where the integration is interrupted. Steps are at least 1e-4 of the
    interval long; there the error may exceed the tolerance. A member that is not finite stays.

    Steps end at the times where the right-hand side is known to jump, so that within each step it
    is smooth.

    Args:
        slope_fn: (t [B], y [B, ...], piece int32 [B]) -> dy/dt of y's shape, on both ends of the
            piece as within it. Piece k is between jumps k - 1 and k; 0 without any.
        state: `OdeState`.
        until: float32, the time that all members reach before this returns, at most `end`.
        end: float, positive, the time at which they stop.
        rtol, atol: relative and absolute tolerance.
        norm: [B, ...] -> [B], of the ratios of error and tolerance.
        jumps: rising times between 0 and `end`.

    Returns:
        `OdeState`.

    Source: Dormand & Prince 1980, "A family of embedded Runge-Kutta formulae", table 2.
    """
    axes = list(range(1, state.y.shape.rank))
    jumps = tf.constant(jumps, tf.float32, [len(jumps)])
    limits = tf.concat([jumps, [end]], 0)
    # Kept one function: a step evaluates it six times, and to optimise as many copies of a network
    # takes a minute.
    slope_fn = tf.function(
        slope_fn,
        autograph=False,
        reduce_retracing=True,
        experimental_attributes={"_noinline": True},
    )

    def piece_at(time):
        return tf.reduce_sum(tf.cast(time[:, None] >= jumps, tf.int32), 1)

    def first_slope():
        return state._replace(
            slope=slope_fn(state.time, state.y, piece_at(state.time)),
            step=tf.fill(tf.shape(state.time), _FIRST_STEP * end),
            evaluations=state.evaluations + 1,
        )

    def under_way(state):
        return state.time < until

    def step(state):
        y, piece = state.y, piece_at(state.time)
        limit = tf.gather(limits, piece)
        length = tf.minimum(state.step, limit - state.time)
        slopes = [state.slope]
        for node, weights in zip(_NODES[1:], _STAGES[1:], strict=True):
            moved = y + column(length, y) * _combine(weights, slopes)
            slopes.append(slope_fn(state.time + node * length, moved, piece))
        error = column(length, y) * _combine(_ERROR, slopes)
        scale = atol + rtol * tf.maximum(tf.abs(y), tf.abs(moved))
        error = norm(error / scale)
        error = tf.where(tf.math.is_finite(error), error, 1e10)
        accepted = (error <= 1.0) | (length <= _SMALLEST_STEP * end)
        factor = _SAFETY * tf.pow(tf.maximum(error, 1e-10), -0.2)
        length_next = tf.maximum(
            length * tf.clip_by_value(factor, _LEAST, _MOST), _SMALLEST_STEP * end
        )
        # A step that was cut short says little of the length of the next.
        longer = tf.maximum(length_next, tf.where(length < state.step, state.step, 0.0))
        lost = ~tf.math.is_finite(tf.reduce_sum(moved, axis=axes))
        time = tf.where(limit - state.time <= length, limit, state.time + length)
        time = tf.where(lost & accepted, end, time)

        def choose(taken, new, old):
            return tf.where(taken if new.shape.rank == 1 else column(taken, new), new, old)

        taken = accepted & under_way(state)
        jumped = taken & (time == limit) & (limit < end)
        slope = tf.cond(
            tf.reduce_any(jumped),
            lambda: choose(jumped, slope_fn(time, moved, piece_at(time)), slopes[-1]),
            lambda: slopes[-1],
        )
        evaluations = state.evaluations + 6
        new = OdeState(moved, time, longer, slope, evaluations + tf.cast(jumped, tf.int32))
        kept = state._replace(
            step=tf.where(under_way(state), length_next, state.step),
            evaluations=tf.where(under_way(state), evaluations, state.evaluations),
        )
        return tuple(choose(taken, *pair) for pair in zip(new, kept, strict=True))

    fresh = tf.reduce_all(state.evaluations == 0)
    state = OdeState(*tf.cond(fresh, lambda: tuple(first_slope()), lambda: tuple(state)))
    state = tf.while_loop(
        lambda *state: tf.reduce_any(under_way(OdeState(*state))),
        lambda *state: step(OdeState(*state)),
        tuple(state),
        parallel_iterations=1,
    )
    return OdeState(*state)


def _combine(weights, slopes):
    return tf.add_n(
        [weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight]
    )
