"""The techniques that choose noise levels and step size for images.

The largest distance is compared with brute force, also by how little of it is held or computed.
"""

import math
import statistics

import numpy as np
import pytest

from ncsn_tf.schedule import (
    choose_num_levels,
    choose_step_lr,
    level_ratio,
    max_pairwise_distance,
    techniques,
    variance_ratio,
)

# --- technique 1 ---


def brute_force(images):
    flat = images.reshape(len(images), -1).astype(np.int64)
    squared = ((flat[:, None] - flat[None]) ** 2).sum(-1)
    return np.sqrt(squared.max()) / 255.0


def random_images(count, spread, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.uniform(0, 255, size=(count, 1, 1, 1)), spread, size=(count, 3, 4, 2))
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("block_images", [None, 1, 7, 10, 64])
@pytest.mark.parametrize("spread", [0.5, 20.0, 1000.0])
@pytest.mark.parametrize("count", [1, 2, 37, 60])
def test_it_is_that_of_brute_force(count, spread, block_images):
    images = random_images(count, spread, seed=count)
    distance, (i, j) = max_pairwise_distance(images, block_images=block_images)
    assert distance == brute_force(images)  # whole numbers: no rounding before the root
    between = images[i].astype(np.int64) - images[j]
    assert distance == np.sqrt((between**2).sum()) / 255.0


def test_known_distances():
    black, white = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
    assert max_pairwise_distance(np.concatenate([black, white]))[0] == pytest.approx(
        np.sqrt(48), rel=1e-15
    )
    assert max_pairwise_distance(np.concatenate([black] * 5))[0] == 0.0
    # Large enough that float32 could not hold the squares.
    images = np.full((3, 300, 300, 1), 254, np.uint8)
    images[1, 0, 0] = 255
    assert max_pairwise_distance(images)[0] == 1 / 255


def watch(monkeypatch):
    """The shapes of all pairs of blocks that are compared."""
    shapes, farthest = [], techniques._farthest

    def watched(rows, columns):
        shapes.append((len(rows), len(columns)))
        return farthest(rows, columns)

    monkeypatch.setattr(techniques, "_farthest", watched)
    return shapes


def test_blocks_are_bounded(monkeypatch):
    monkeypatch.setattr(techniques, "_BLOCK_BYTES", 8 * 24 * 5)  # five images of 24 numbers
    shapes = watch(monkeypatch)
    images = random_images(42, 1000.0)
    assert max_pairwise_distance(images)[0] == brute_force(images)
    assert max(max(shape) for shape in shapes) == 5
    monkeypatch.setattr(techniques, "_BLOCK_IMAGES", 3)
    shapes.clear()
    max_pairwise_distance(images)
    assert max(max(shape) for shape in shapes) == 3
    monkeypatch.setattr(techniques, "_BLOCK_BYTES", 1)  # less than one image: one at a time
    assert max_pairwise_distance(images)[0] == brute_force(images)


def test_pairs_that_cannot_be_the_farthest_are_passed_over(monkeypatch):
    shapes = watch(monkeypatch)
    images = random_images(200, 5.0)
    assert max_pairwise_distance(images, block_images=10)[0] == brute_force(images)
    assert len(shapes) < 20 * 21 / 2 / 4


def test_progress_is_that_of_all_images():
    seen = []
    max_pairwise_distance(random_images(23, 20.0), seen.append, block_images=10)
    assert seen == [10, 10, 3]


@pytest.mark.parametrize("images", [np.zeros((0, 2), np.uint8), np.zeros((3, 2), np.float32)])
def test_what_is_no_set_of_images(images):
    with pytest.raises(ValueError, match="images must be uint8"):
        max_pairwise_distance(images)


# --- technique 2 ---


@pytest.mark.parametrize("dimension", [5, 16, 64, 784, 3072, 12288, 256 * 256 * 3])
def test_half_of_the_radii_of_one_level_are_likely_at_the_next(dimension):
    gamma, phi = level_ratio(dimension), statistics.NormalDist().cdf
    assert gamma > 1
    middle = math.sqrt(2 * dimension) * (gamma - 1)
    assert abs(phi(middle + 3 * gamma) - phi(middle - 3 * gamma) - 0.5) < 1e-12


def test_radii_of_neighbouring_levels_overlap_by_half():
    """The technique's meaning: radii of noise of one level that the next level's reach too."""
    dimension, rng = 3072, np.random.default_rng(0)
    gamma = level_ratio(dimension)
    # A radius over sigma is near N(sqrt(D), 1/2); seen from the lower level, gamma times that.
    radii = gamma * np.sqrt(rng.chisquare(dimension, size=40_000))
    reached = np.abs(radii - math.sqrt(dimension)) < 3 * gamma / math.sqrt(2)
    assert abs(reached.mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    "begin, dimension, levels, published",
    [
        (50.0, 32 * 32 * 3, 219, 232),
        (90.0, 64 * 64 * 3, 472, 500),
        (190.0, 128 * 128 * 3, 1026, 1086),
        (348.0, 256 * 256 * 3, 2182, 2311),
    ],
)
def test_number_of_levels(begin, dimension, levels, published):
    assert choose_num_levels(begin, 0.01, dimension) == levels
    assert 0.94 < levels / published < 0.95  # the paper's own solutions were a little finer


def test_a_short_range_has_two_levels():
    assert choose_num_levels(0.0101, 0.01, 64) == 2


@pytest.mark.parametrize(
    "begin, end, dimension, message",
    [
        (1.0, 0.01, 4, "dimension must be at least 5, not 4"),
        (1.0, 1.0, 64, "must be positive and fall, not 1.0 to 1.0"),
        (1.0, 0.0, 64, "must be positive and fall"),
        (math.inf, 0.1, 64, "must be positive and fall"),
    ],
)
def test_impossible_choices_of_levels(begin, end, dimension, message):
    with pytest.raises(ValueError, match=message):
        choose_num_levels(begin, end, dimension)


# --- technique 4 ---

# sigma_1, L, T, step_lr, the variance ratio at it. Without LSUN churches (140, 788, 4): their
# published 4.9e-6 is not technique 4's, which is 2.31e-6.
PUBLISHED = [
    (50.0, 232, 5, 6.2e-6, 1.055),
    (90.0, 500, 5, 3.3e-6, 1.031),
    (190.0, 1086, 3, 1.8e-6, 1.017),
    (348.0, 2311, 3, 0.9e-6, 1.009),
]


def ratio_of(begin, levels, end=0.01):
    return (begin / end) ** (1 / (levels - 1))


@pytest.mark.parametrize("begin, levels, steps, step_lr, variance", PUBLISHED)
def test_published_step_sizes(begin, levels, steps, step_lr, variance):
    ratio = ratio_of(begin, levels)
    assert round(variance_ratio(step_lr, 0.01, ratio, steps), 3) == variance
    assert abs(choose_step_lr(0.01, ratio, steps) / step_lr - 1) < 0.02


@pytest.mark.parametrize("ratio, steps, end", [(1.668, 100, 0.01), (1.04, 1, 0.1), (3.0, 2, 1.0)])
def test_variance_ratio_is_that_of_the_chain(ratio, steps, end):
    """A Gaussian's score is -x / sigma^2: the chain's variance can be followed step by step."""
    step_lr, sigma = 0.06 * end**2, 7.0 * end
    size = step_lr * (sigma / end) ** 2
    variance = (ratio * sigma) ** 2
    for _ in range(steps):
        variance = variance * (1 - size / sigma**2) ** 2 + 2 * size
    assert variance_ratio(step_lr, end, ratio, steps) == pytest.approx(variance / sigma**2, 1e-12)


@pytest.mark.parametrize("ratio", [1.0001, 1.0376, 1.4, 1.5, 5.0])
@pytest.mark.parametrize("steps", [1, 3, 5, 100])
def test_no_step_size_ends_nearer_to_the_level(ratio, steps):
    end = 0.3
    best = choose_step_lr(end, ratio, steps)
    assert 0 < best < 2 * end**2
    least = variance_ratio(best, end, ratio, steps)
    assert 1.0 < least < ratio**2
    grid = np.linspace(0, 2, 2001)[1:-1] * end**2
    assert all(variance_ratio(step, end, ratio, steps) >= least for step in grid)

    def slope(share):  # central difference, in the unit of the solution
        ends = (variance_ratio(best * (1 + shift), end, ratio, steps) for shift in (share, -share))
        return (next(ends) - next(ends)) / (2 * share)

    assert abs(slope(1e-5)) < 1e-7 * ratio**2


@pytest.mark.parametrize("step_lr", [0.0, -1e-6, 2e-4, 1.0])
def test_step_sizes_that_diverge(step_lr):
    with pytest.raises(ValueError, match="step_lr must be between 0 and 2 sigma_end.2 = 0.0002"):
        variance_ratio(step_lr, 0.01, 1.04, 5)


@pytest.mark.parametrize("end, ratio, steps", [(0.0, 1.1, 5), (0.01, 1.0, 5), (0.01, 1.1, 0)])
def test_impossible_choices_of_a_step_size(end, ratio, steps):
    with pytest.raises(ValueError, match=f"not {end}, {ratio}, {steps}"):
        choose_step_lr(end, ratio, steps)
