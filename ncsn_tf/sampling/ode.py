"""Ordinary differential equations, an adaptive step size for each member of a batch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from ncsn_tf.sampling.chain import column


class Tableau(NamedTuple):
    """Coefficients of an explicit Runge-Kutta method whose last stage is its result.

    The derivative at the last stage is therefore the first one of the next step.

    Attributes:
        nodes: c_i, where in the step the slope of a stage is taken; S numbers, the first 0.
        stages: a_ij, S rows: weights of the slopes before it of which a stage is made.
        error: S weights of the slopes, the difference from the result of a lower order.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]


# Orders 5(4). Source: Dormand & Prince 1980, "A family of embedded Runge-Kutta formulae", table 2.
DORMAND_PRINCE = Tableau(
    nodes=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    stages=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)
_EVALUATIONS = len(DORMAND_PRINCE.nodes) - 1  # of a step
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


def ode_start(y: tf.Tensor) -> OdeState:
    """The state at time 0; its slope is evaluated by the first call of `ode_advance`."""
    zeros = tf.zeros(tf.shape(y)[:1])
    return OdeState(y, zeros, zeros, tf.zeros_like(y), tf.zeros_like(zeros, tf.int32))


def root_mean_square(ratios: tf.Tensor) -> tf.Tensor:
    """Over each member: [B, ...] -> [B]."""
    return tf.sqrt(tf.reduce_mean(tf.square(ratios), axis=list(range(1, ratios.shape.rank))))


def ode_advance(
    slope_fn: Callable,
    state: OdeState,
    until: float | tf.Tensor,
    end: float,
    rtol: float,
    atol: float,
    norm: Callable = root_mean_square,
    jumps: Sequence[float] = (),
) -> OdeState:
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

    Example:
        >>> state = ode_start(tf.constant([[1.0], [2.0]]))  # y' = -y
        >>> state = ode_advance(lambda t, y, piece: -y, state, 1.0, 1.0, 1e-4, 1e-4)
        >>> [round(value, 3) for value in state.y[:, 0].numpy().tolist()]
        [0.368, 0.736]
    """
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
        piece = piece_at(state.time)
        limit = tf.gather(limits, piece)
        length = tf.minimum(state.step, limit - state.time)
        moved, slope, error = _try_step(slope_fn, state, length, piece)
        error = _error_ratio(error, state.y, moved, rtol, atol, norm)
        accepted = (error <= 1.0) | (length <= _SMALLEST_STEP * end)
        length_next = _next_length(length, error, _SMALLEST_STEP * end)
        # A step that was cut short says little of the length of the next.
        longer = tf.maximum(length_next, tf.where(length < state.step, state.step, 0.0))
        lost = ~tf.math.is_finite(tf.reduce_sum(moved, axis=list(range(1, moved.shape.rank))))
        time = tf.where(limit - state.time <= length, limit, state.time + length)
        time = tf.where(lost & accepted, end, time)
        taken = accepted & under_way(state)
        jumped = taken & (time == limit) & (limit < end)
        slope = _restart(jumped, slope, lambda: slope_fn(time, moved, piece_at(time)))
        evaluations = state.evaluations + _EVALUATIONS
        new = OdeState(moved, time, longer, slope, evaluations + tf.cast(jumped, tf.int32))
        kept = state._replace(
            step=tf.where(under_way(state), length_next, state.step),
            evaluations=tf.where(under_way(state), evaluations, state.evaluations),
        )
        return tuple(_choose(taken, *pair) for pair in zip(new, kept, strict=True))

    fresh = tf.reduce_all(state.evaluations == 0)
    state = OdeState(*tf.cond(fresh, lambda: tuple(first_slope()), lambda: tuple(state)))
    state = tf.while_loop(
        lambda *state: tf.reduce_any(under_way(OdeState(*state))),
        lambda *state: step(OdeState(*state)),
        tuple(state),
        parallel_iterations=1,
    )
    return OdeState(*state)


def _try_step(slope_fn, state, length, piece):
    """Where steps of the lengths [B] lead: (y there, dy/dt there, estimate of the error)."""
    y, slopes = state.y, [state.slope]
    for node, weights in zip(DORMAND_PRINCE.nodes[1:], DORMAND_PRINCE.stages[1:], strict=True):
        moved = y + column(length, y) * _combine(weights, slopes)
        slopes.append(slope_fn(state.time + node * length, moved, piece))
    return moved, slopes[-1], column(length, y) * _combine(DORMAND_PRINCE.error, slopes)


def _error_ratio(error, y, moved, rtol, atol, norm):
    """Error over tolerance [B]: at most 1 if the step is good, very much if it is not finite."""
    scale = atol + rtol * tf.maximum(tf.abs(y), tf.abs(moved))
    ratio = norm(error / scale)
    return tf.where(tf.math.is_finite(ratio), ratio, 1e10)


def _next_length(length, error_ratio, smallest):
    """The length [B] with which the error, of order 5, would be a little below the tolerance."""
    factor = _SAFETY * tf.pow(tf.maximum(error_ratio, 1e-10), -0.2)
    return tf.maximum(length * tf.clip_by_value(factor, _LEAST, _MOST), smallest)


def _restart(jumped, slope, new_slope):
    """dy/dt at the end of a step: evaluated anew for the members whose right-hand side jumped."""
    return tf.cond(
        tf.reduce_any(jumped), lambda: _choose(jumped, new_slope(), slope), lambda: slope
    )


def _choose(taken, new, old):
    """Row by row: the new one where taken [B], else the old one."""
    return tf.where(taken if new.shape.rank == 1 else column(taken, new), new, old)


def _combine(weights, slopes):
    """The weighted sum of slopes, without those of weight 0."""
    return tf.add_n(
        [weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight]
    )
