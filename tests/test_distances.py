"""The largest pairwise distance against brute force, and how little of it is held or computed."""

import numpy as np
import pytest

from ncsn_tf import distances
from ncsn_tf.distances import max_pairwise_distance


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
    shapes, farthest = [], distances._farthest

    def watched(rows, columns):
        shapes.append((len(rows), len(columns)))
        return farthest(rows, columns)

    monkeypatch.setattr(distances, "_farthest", watched)
    return shapes


def test_blocks_are_bounded(monkeypatch):
    monkeypatch.setattr(distances, "_BLOCK_BYTES", 8 * 24 * 5)  # five images of 24 numbers
    shapes = watch(monkeypatch)
    images = random_images(42, 1000.0)
    assert max_pairwise_distance(images)[0] == brute_force(images)
    assert max(max(shape) for shape in shapes) == 5
    monkeypatch.setattr(distances, "_BLOCK_IMAGES", 3)
    shapes.clear()
    max_pairwise_distance(images)
    assert max(max(shape) for shape in shapes) == 3
    monkeypatch.setattr(distances, "_BLOCK_BYTES", 1)  # less than one image: one at a time
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
