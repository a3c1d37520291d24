"""The solver against equations whose solutions are known."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.sampling.ode import OdeState, ode_advance, ode_start

END = 4.0


def solve(slope_fn, y, tolerance=1e-5, stops=(END,), **options):
    """The last state, from pieces that end at `stops`."""

    @tf.function(autograph=False)
    def advance(state, until):
        return ode_advance(slope_fn, state, until, END, tolerance, tolerance, **options)

    state = ode_start(tf.constant(y, tf.float32))
    for stop in stops:
        state = advance(state, tf.constant(stop, tf.float32))
    return OdeState(*(part.numpy() for part in state))


def turning(time, y, piece):
    """y'' = -y, as two equations."""
    return tf.stack([y[:, 1], -y[:, 0]], 1)


def steps(state):
    return (state.evaluations - 1) / 6


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4, 1e-5])
def test_a_rotation_is_exact_within_the_tolerance(tolerance):
    state = solve(turning, [[1.0, 0.0], [0.0, 2.0]], tolerance)
    exact = [[math.cos(END), -math.sin(END)], [2 * math.sin(END), 2 * math.cos(END)]]
    assert np.abs(state.y - exact).max() < 10 * tolerance
    np.testing.assert_array_equal(state.time, np.float32(END))


def test_the_order_is_five():
    """A fifth power is exact, whatever the lengths of the steps; a seventh is not."""
    power = lambda n: lambda time, y, piece: n * time[:, None] ** (n - 1) + 0 * y  # noqa: E731
    state = solve(power(5), [[0.0]], 1.0)
    assert state.y[0, 0] == pytest.approx(END**5, rel=1e-6)
    assert steps(state)[0] < 12
    loose = solve(power(7), [[0.0]], 1.0)
    assert 1e-5 < abs(loose.y[0, 0] / END**7 - 1) < 0.1


def test_time_dependence_uses_the_nodes():
    state = solve(lambda time, y, piece: tf.cos(3 * time)[:, None] * y, [[1.0], [-2.0]])
    exact = math.exp(math.sin(3 * END) / 3)
    np.testing.assert_allclose(state.y, [[exact], [-2 * exact]], rtol=1e-4)


def decay(rates):
    rates = tf.constant(rates, tf.float32)[:, None]
    return lambda time, y, piece: -rates * y


def test_every_member_has_its_own_steps():
    rates = [0.1, 1.0, 10.0, 100.0]
    together = solve(decay(rates), np.ones([4, 1]))
    assert np.all(np.diff(together.evaluations) > 0)
    for row, rate in enumerate(rates):
        alone = solve(decay([rate]), [[1.0]])
        assert alone.evaluations[0] == together.evaluations[row]
        assert alone.y[0, 0] == pytest.approx(together.y[row, 0], abs=1e-7)
        assert together.y[row, 0] == pytest.approx(math.exp(-rate * END), abs=2e-5)


JUMPS = (0.7, 2.0, 2.0001, 3.5)


def climbing(time, y, piece):
    """10 to the power of the piece, growing: the slope jumps by factors of ten."""
    return 10.0 ** tf.cast(piece, tf.float32)[:, None] * (1.0 + 0.0 * y)


@pytest.mark.parametrize("jumps", [(), JUMPS])
@pytest.mark.parametrize("stops", [(1.0, END), (0.7, 2.0, 3.9, END), (1e-3, 2.00005, END)])
def test_an_interruption_changes_nothing(stops, jumps):
    def slope(time, y, piece):
        return turning(time, y, piece) * (1.0 + tf.cast(piece, tf.float32)[:, None])

    whole, parts = (solve(slope, [[1.0, 0.5]] * 2, stops=s, jumps=jumps) for s in ((END,), stops))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_jumps_are_the_ends_of_steps():
    """Where the slope is constant between jumps there is no error at any step length."""
    state = solve(climbing, [[0.0], [1.0]], 1e-6, jumps=JUMPS)
    lengths = np.diff([0.0, *JUMPS, END])
    exact = np.sum(lengths * 10.0 ** np.arange(5))
    np.testing.assert_allclose(state.y[:, 0], [exact, 1 + exact], rtol=1e-6)
    # One evaluation at the start and after each jump, and few steps: they grow over all jumps.
    assert np.all((state.evaluations - 5) % 6 == 0)
    assert np.all(state.evaluations < 5 + 6 * 11)


def test_known_jumps_cost_less_than_found_ones():
    """A spring that changes its stiffness: the same solution, a part of the evaluations."""
    stiffness = tf.constant([1.0, 4.0, 0.5, 9.0])
    jumps = (0.8, 1.9, 3.1)

    def known(time, y, piece):
        return tf.stack([y[:, 1], -tf.gather(stiffness, piece) * y[:, 0]], 1)

    def found(time, y, piece):
        piece = tf.reduce_sum(tf.cast(time[:, None] >= jumps, tf.int32), 1)
        return known(time, y, piece)

    short = solve(known, [[1.0, 0.0]], jumps=jumps)
    long = solve(found, [[1.0, 0.0]])
    position, speed = 1.0, 0.0
    for length, k in zip(np.diff([0.0, *jumps, END]), (1.0, 4.0, 0.5, 9.0), strict=True):
        rate = math.sqrt(k)
        cos, sin = math.cos(rate * length), math.sin(rate * length)
        position, speed = position * cos + speed / rate * sin, speed * cos - rate * position * sin
    np.testing.assert_allclose(short.y, [[position, speed]], atol=1e-4)
    np.testing.assert_allclose(long.y, [[position, speed]], atol=5e-3)
    assert short.evaluations[0] < 0.7 * long.evaluations[0]


def test_the_smallest_step_passes_a_jump_that_nobody_named():
    def slope(time, y, piece):
        return tf.where(time > 1.0, 1e6, 0.0)[:, None] + 0.0 * y

    state = solve(slope, [[0.0]])
    assert state.y[0, 0] == pytest.approx(3e6, rel=1e-3)
    assert state.evaluations[0] < 300


def test_a_member_that_is_not_finite_stays():
    def slope(time, y, piece):
        return tf.where(y > 5.0, np.nan, y)

    state = solve(slope, [[0.01], [1.0], [np.nan], [-1.0]])
    assert state.y[0, 0] == pytest.approx(0.01 * math.exp(END), rel=1e-4)
    assert state.y[3, 0] == pytest.approx(-math.exp(END), rel=1e-4)
    assert np.isnan(state.y[1:3]).all()
    np.testing.assert_array_equal(state.time, np.float32(END))


def test_the_norm_decides_what_counts():
    """Of a fast and a slow component: a norm that sees the slow one alone takes fewer steps."""
    rates = tf.constant([0.1, 50.0])
    slope = lambda time, y, piece: -rates * y  # noqa: E731
    both = solve(slope, [[1.0, 1.0]])
    slow = solve(slope, [[1.0, 0.0]], norm=lambda ratios: tf.abs(ratios[:, 0]))
    assert slow.evaluations[0] < both.evaluations[0] / 2
    assert slow.y[0, 0] == pytest.approx(math.exp(-0.4), abs=1e-5)
