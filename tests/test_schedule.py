"""The geometric ladder of noise levels."""

import math

import numpy as np
import pytest

from ncsn_tf.schedule import geometric_sigmas


@pytest.mark.parametrize("begin, end, levels", [(1.0, 0.01, 10), (50.0, 0.01, 232), (0.3, 0.1, 2)])
def test_ends_are_exact_and_the_ratio_constant(begin, end, levels):
    sigmas = geometric_sigmas(begin, end, levels).numpy()
    assert sigmas.shape == (levels,)
    assert sigmas.dtype == np.float32
    assert sigmas[0] == np.float32(begin)
    assert sigmas[-1] == np.float32(end)
    ratio = (end / begin) ** (1 / (levels - 1))
    np.testing.assert_allclose(sigmas[1:] / sigmas[:-1], ratio, rtol=3e-7)


def test_levels_of_the_reference(golden):
    expected = golden("ncsn_cifar10_ngf8")["sigmas"]
    np.testing.assert_allclose(geometric_sigmas(1.0, 0.01, 10), expected, rtol=2e-7)


def test_one_level_is_the_first():
    assert geometric_sigmas(0.3, 0.3, 1).numpy().tolist() == [np.float32(0.3)]
    assert geometric_sigmas(0.3, 0.01, 1).numpy().tolist() == [np.float32(0.3)]


@pytest.mark.parametrize(
    "begin, end, levels, message",
    [
        (1.0, 0.01, 0, "num_levels must be at least 1, not 0"),
        (1.0, 0.0, 10, "must be positive, not 1.0 to 0.0"),
        (1.0, -0.01, 10, "must be positive"),
        (-1.0, -2.0, 10, "must be positive"),
        (math.inf, 0.01, 10, "must be positive"),
        (math.nan, 0.01, 10, "must be positive"),
        (1.0, math.nan, 10, "must be positive"),
        (-1.0, 0.01, 1, "must be positive"),
        (0.0, 0.01, 1, "must be positive"),
        (0.01, 1.0, 10, r"sigma_end \(1.0\) must be below sigma_begin \(0.01\)"),
        (1.0, 1.0, 10, "must be below"),
    ],
)
def test_impossible_ladders(begin, end, levels, message):
    with pytest.raises(ValueError, match=message):
        geometric_sigmas(begin, end, levels)
