"""Averages by powers of time: closed forms against numbers, and the fit against one really kept."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.averages import LONGEST, SHORTEST, check_kept, interval_of, lengths_of
from ncsn_tf.settings.config import Config
from ncsn_tf.training.power_average import attainable, decay, fit, gamma_of, length_of, products
from ncsn_tf.training.state import power_fraction

KEPT = (0.05, 0.1)


def profile(time, gamma, at):
    """The profile at times in the middle of small steps."""
    return np.where(at <= time, (gamma + 1) * at**gamma / time ** (gamma + 1), 0.0)


@pytest.mark.parametrize("gamma", [0.0, 0.7, 6.94, 16.97, 120.0])
def test_the_length_is_the_deviation_of_the_profile(gamma):
    step = 1e-5
    at = np.arange(step / 2, 1.0, step)
    values = profile(1.0, gamma, at) * step
    mean = np.sum(values * at)
    np.testing.assert_allclose(np.sum(values), 1.0, rtol=1e-6)
    deviation = np.sqrt(np.sum(values * (at - mean) ** 2))
    np.testing.assert_allclose(length_of(gamma), deviation, rtol=1e-5)


def test_the_exponent_of_a_length():
    lengths = np.geomspace(SHORTEST, LONGEST, 200)
    gammas = [gamma_of(length) for length in lengths]
    np.testing.assert_allclose([length_of(gamma) for gamma in gammas], lengths, rtol=1e-11)
    assert np.all(np.diff(gammas) < 0) and gammas[-1] >= 0


def test_inner_products():
    ones = [(1.0, 0.5), (0.6, 6.94), (1.0, 6.94)]
    others = [(1.0, 16.97), (0.3, 2.0), (0.6, 0.0)]
    step = 2e-5
    at = np.arange(step / 2, 1.0, step)
    expected = [
        [np.sum(profile(*one, at) * profile(*other, at)) * step for other in others] for one in ones
    ]
    np.testing.assert_allclose(products(ones, others), expected, rtol=1e-4, atol=1e-12)
    np.testing.assert_array_equal(products(others, ones), products(ones, others).T)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 6.94])
def test_updates_give_each_step_its_share(gamma):
    """What n updates make of the weights, by one vector of shares."""
    count = 30
    kept = np.zeros(count)
    for update in range(1, count + 1):
        share = decay(gamma, update)
        kept = share * kept + (1.0 - share) * np.eye(count)[update - 1]
    steps = np.arange(1, count + 1)
    expected = (steps ** (gamma + 1) - (steps - 1) ** (gamma + 1)) / count ** (gamma + 1)
    np.testing.assert_allclose(kept, expected, rtol=1e-12)


def test_the_share_in_training_keeps_its_digits_late():
    for gamma in (0.5, 6.94, 900.0):
        for count in (1, 2, 1000, 10**6, 10**9):
            share = float(power_fraction(gamma, tf.constant(count, tf.int64)))
            exact = -np.expm1((gamma + 1) * np.log1p(-np.float64(1) / count)) if count > 1 else 1.0
            np.testing.assert_allclose(share, exact, rtol=1e-6)


def walk(count, size=40, seed=0):
    """Weights [count, size] as training makes them: they wander, approach a place, and shake."""
    draw = np.random.default_rng(seed).normal
    path = np.cumsum(draw(size=[count, size]), axis=0) * 0.02
    far = 3.0 * np.exp(-np.arange(count) / (0.1 * count))[:, None] * draw(size=size)
    return 1.0 + path + far + 0.3 * draw(size=[count, size])


def kept_directly(weights, length):
    """The averages [count, size] of a length after each step."""
    gamma, average, rows = gamma_of(length), np.zeros(weights.shape[1]), []
    for number, row in enumerate(weights, 1):
        share = decay(gamma, number)
        average = share * average + (1.0 - share) * row
        rows.append(average)
    return np.array(rows)


def error_of(weights, length, snapshots, dtype=np.float16):
    """Error of the fitted average beside the one really kept, as a share of its norm."""
    count = len(weights)
    steps = [count * number // snapshots for number in range(1, snapshots + 1)]
    stored = [kept_directly(weights, kept)[np.array(steps) - 1].astype(dtype) for kept in KEPT]
    known = [(step, gamma_of(kept)) for kept in KEPT for step in steps]
    shares = fit(known, [(count, gamma_of(length))]).shares[:, 0]
    fitted = shares @ np.concatenate(stored).astype(np.float64)
    direct = kept_directly(weights, length)[-1]
    return np.linalg.norm(fitted - direct) / np.linalg.norm(direct)


def test_the_fit_is_near_an_average_that_was_really_kept():
    weights = walk(2000)
    for length in (0.03, 0.075, 0.15, 0.2):
        assert error_of(weights, length, 20) < 0.004
    # Beside what there is to lose: the kept average that is nearest in length is far from it.
    near, direct = (kept_directly(weights, length)[-1] for length in (0.1, 0.15))
    lost = np.linalg.norm(near - direct) / np.linalg.norm(direct)
    assert error_of(weights, 0.15, 20) < lost / 40


def test_more_snapshots_are_nearer():
    weights = walk(2000)
    errors = [error_of(weights, 0.15, number, np.float64) for number in (2, 5, 10, 20, 40)]
    assert all(after < 0.6 * before for before, after in zip(errors, errors[1:], strict=False))


def test_of_independent_weights_the_error_is_the_one_that_is_promised():
    weights = np.random.default_rng(0).normal(size=[1000, 2000])
    steps = np.arange(100, 1001, 100)
    known = [(step, gamma_of(kept)) for kept in KEPT for step in steps]
    for length in (0.03, 0.2):
        found = fit(known, [(1000, gamma_of(length))])
        stored = np.concatenate([kept_directly(weights, kept)[steps - 1] for kept in KEPT])
        direct = kept_directly(weights, length)[-1]
        error = np.linalg.norm(found.shares[:, 0] @ stored - direct) / np.linalg.norm(direct)
        np.testing.assert_allclose(error, found.errors[0], rtol=0.1)


def test_what_can_be_had():
    ranges = []
    for number in (1, 5, 20):
        known = [(step, gamma_of(kept)) for step in range(1, number + 1) for kept in KEPT]
        shortest, longest = attainable(known, number)
        assert shortest < 0.05 and longest > 0.1
        ends = [(number, gamma_of(length)) for length in (shortest, longest)]
        assert np.all(fit(known, ends).errors <= 0.1)
        beyond = [(number, gamma_of(length)) for length in (0.97 * shortest, 1.03 * longest)]
        assert np.all(fit(known, beyond).errors > 0.1)
        ranges.append(longest - shortest)
    assert sorted(ranges) == ranges


@pytest.mark.parametrize("text", ["0.3", "0", "-0.1", "nan", "a", "0.05,", "0.1,0.1", "0.0001"])
def test_what_is_no_list_of_lengths(text):
    with pytest.raises(ConfigError, match=f"--ema={text} must be lengths from 0.001 to 0.2886"):
        lengths_of("ema", text)


def test_settings_of_a_run():
    assert Config().ema_power == "" and lengths_of("ema_power", "") == ()
    for text in ("0.05", "0.01,0.02,0.03,0.04,0.05"):
        with pytest.raises(ConfigError, match="must be two to four lengths, such as 0.05,0.1"):
            Config(ema_power=text)
    with pytest.raises(ConfigError, match="--ema_every=5 needs --ema_power"):
        Config(ema_every=5)
    check_kept("0.05,0.1", 5)
    assert interval_of(0, 19, 5000) == 1
