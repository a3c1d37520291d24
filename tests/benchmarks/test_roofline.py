"""Least times from counted operations and bytes."""

import math

import pytest

from benchmarks import roofline
from benchmarks.roofline import Counts
from ncsn_tf.models.networks import NCSNv2
from ncsn_tf.settings.config import Config


def test_counts_of_a_network():
    """Every convolution and every normalisation once; those of NCSNv2 are few enough to list."""
    network = NCSNv2((8, 8, 1), 2, [1.0, 0.1])
    counts = roofline.count(network)
    full, half = 64 * 2, 16 * 4  # numbers of an activation of the first and of the later stages
    # Two norms a residual block; the block that halves the resolution is narrow and wide before it.
    norms = 4 * full + (full + full) + 2 * half + 4 * half + 4 * half + full
    assert counts.norm_elements == norms
    convolutions = [
        *[(64, full), (full, 64)],  # the first and the last
        *[(full, full)] * 4,
        *[(full, full), (full, 64 * 4), (full // 4, half), (half, half), (half, half)],
        *[(half, half)] * (4 + 1) * 2,
    ]
    down = sum(map(sum, convolutions))
    assert down < counts.convolution_elements < 5 * down


def test_forward_and_training():
    counts = Counts(multiply_adds=10, convolution_elements=100, norm_elements=7)
    assert counts.forward(4) == (20, 4 * (100 + 3 * 7))
    assert counts.training(2) == (60, 2 * (100 + 3 * 7) + 2 * (2 * 100 + 5 * 7))


@pytest.mark.parametrize(
    "operations, moved, seconds, why",
    [(1e12, 1e9, 1.0, "arithmetic"), (1e9, 5e10, 5.0, "memory")],
)
def test_bound(operations, moved, seconds, why):
    assert roofline.bound(operations, moved, 1e12, 1e10) == (pytest.approx(seconds), why)


def test_table():
    counts = Counts(multiply_adds=10**10, convolution_elements=10**7, norm_elements=10**7)
    header, rule, *rows = roofline.lines(counts, Config())
    assert header.count("|") == rule.count("|")
    assert len(rows) == sum(len(device.flops) for device in roofline.ACCELERATORS)
    h100 = next(row for row in rows if "H100" in row and "float32" in row)
    step = 128 * 6e10 / 67e12
    assert f"| {1e3 * step:.1f} ms | arithmetic |" in h100
    assert f"| {step * 200_000 / 3600:.1f} h |" in h100
    samples = 2e10 / 67e12 * 1000 * 50_000 / 3600
    assert f"| {samples:.1f} h |" in h100
    assert math.isclose(samples, 4.146, rel_tol=1e-3)
