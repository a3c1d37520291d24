"""Schedules of few noise levels: the papers' formulas, their ends, and the levels of NCSN."""

import numpy as np
import pytest

from ncsn_tf.sampling.points import schedule_points

SCHEDULES = ("karras", "geometric", "ladder")
LADDER = np.array([50.0, 20.0, 3.0, 1.0, 0.3, 0.01], np.float32)


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_karras_by_the_formula(rho):
    high, low = float(LADDER[0]) ** (1 / rho), float(LADDER[-1]) ** (1 / rho)
    expected = [(high + i / 9 * (low - high)) ** rho for i in range(10)]
    np.testing.assert_allclose(schedule_points(LADDER, 10, "karras", rho), expected, rtol=1e-9)


def test_the_limit_of_karras_is_geometric():
    geometric = schedule_points(LADDER, 12, "geometric")
    np.testing.assert_allclose(geometric, np.geomspace(LADDER[0], LADDER[-1], 12), rtol=1e-9)
    np.testing.assert_allclose(schedule_points(LADDER, 12, "karras", 1e300), geometric, rtol=1e-9)


def test_the_ladder_itself_and_points_between():
    np.testing.assert_array_equal(schedule_points(LADDER, 6, "ladder").astype("f4"), LADDER)
    points = schedule_points(LADDER, 11, "ladder")
    np.testing.assert_allclose(points[::2], LADDER, rtol=1e-9)
    between = np.sqrt(LADDER[1:].astype(float) * LADDER[:-1])
    np.testing.assert_allclose(points[1::2], between, rtol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("jumps", [False, True])
def test_points_fall_from_the_first_level_to_the_last(schedule, jumps):
    for count in range(2, 15):
        points = schedule_points(LADDER, count, schedule, jumps=jumps)
        assert len(points) == count and np.all(np.diff(points) < 0)
        assert (points[0], points[-1]) == (LADDER[0], LADDER[-1])
        if jumps and count <= len(LADDER):
            assert np.isin(points, LADDER).all()


def test_levels_are_the_nearest():
    sigmas = np.geomspace(1.0, 0.01, 9)
    expected = sigmas[[0, 2, 4, 6, 8]]
    points = schedule_points(sigmas, 5, "geometric", jumps=True)
    np.testing.assert_array_equal(points, expected)
    # Karras's points crowd below: 1, 0.42, 0.15, 0.045, 0.01 are nearest to these.
    points = schedule_points(sigmas, 5, "karras", jumps=True)
    np.testing.assert_array_equal(points, sigmas[[0, 2, 3, 5, 8]])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"schedule": "linear"}, "schedule must be one of karras, geometric, ladder, not linear"),
        ({"rho": 0.5}, "rho=0.5 must be at least 1"),
        ({"rho": np.nan}, "rho=nan must be at least 1"),
    ],
)
def test_what_is_no_schedule(settings, message):
    with pytest.raises(ValueError, match=message):
        schedule_points(LADDER, 5, **settings)
