"""The choice of noise levels and step size for given images: Song & Ermon 2020 (arXiv:2006.09011).

sigma_1 is the largest distance between two images (technique 1), the number of levels follows from
the dimension (technique 2), the step size from the number of steps a level (technique 4).
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

_BLOCK_BYTES = 2**26  # of one block of images in float64
_BLOCK_IMAGES = 2048  # so that the distances of two blocks fit in half of that


def max_pairwise_distance(
    images: np.ndarray,
    on_rows: Callable[[int], object] | None = None,
    block_images: int | None = None,
) -> tuple[float, tuple[int, int]]:
    """The largest Euclidean distance between two images, sigma_1 by technique 1.

    max_{i, j} || x_i - x_j ||,   pixel values from 0 to 1

    computed block by block on the accelerator if there is one, in float64 from whole pixel values,
    hence exactly. With r_i the distance of image i from the mean image, || x_i - x_j || <= r_i +
    r_j: taken by falling r, most pairs need not be looked at.

    Args:
        images: uint8 [N, ...], N >= 1.
        on_rows: called with a number of images that need no further work; N in all.
        block_images: images in a block; None is as many as fit 64 MiB, at most 2,048.

    Returns:
        float, and the indices (i, j) of a pair with that distance.

    Raises:
        ValueError: no images, or values that are not uint8.

    Source: Song & Ermon 2020 (arXiv:2006.09011), technique 1.

    Example:
        >>> black, white = np.zeros([4, 4, 1], np.uint8), np.full([4, 4, 1], 255, np.uint8)
        >>> distance, pair = max_pairwise_distance(np.stack([black, white]))
        >>> distance, sorted(pair)
        (4.0, [0, 1])
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or len(images) == 0:
        raise ValueError(f"images must be uint8 [N, ...], not {images.dtype} {images.shape}")
    flat = images.reshape(len(images), -1)
    size = block_images or min(_BLOCK_IMAGES, max(1, _BLOCK_BYTES // (8 * flat.shape[1])))
    starts = range(0, len(flat), size)

    mean = flat.mean(axis=0, dtype=np.float64)
    radii = np.concatenate(
        [np.linalg.norm(flat[start : start + size] - mean, axis=1) for start in starts]
    )
    order = np.argsort(-radii)
    radii = radii[order] * (1.0 + 1e-12)  # an upper bound in spite of rounding

    def block(start):
        return tf.cast(tf.constant(flat[order[start : start + size]]), tf.float64)

    best, pair = -1.0, (0, 0)
    for start in starts:
        if 2.0 * radii[start] > best:
            rows = block(start)
            for other in range(start, len(flat), size):
                if radii[start] + radii[other] <= best:
                    break
                squared, place = _farthest(rows, block(other))
                distance = float(squared) ** 0.5
                if distance > best:
                    row, column = divmod(int(place), min(size, len(flat) - other))
                    best, pair = distance, (int(order[start + row]), int(order[other + column]))
        if on_rows is not None:
            on_rows(min(size, len(flat) - start))
    return best / 255.0, pair


def level_ratio(dimension: int) -> float:
    """Ratio gamma > 1 of neighbouring noise levels by technique 2.

    The root of

        Phi(sqrt(2 D) (gamma - 1) + 3 gamma) - Phi(sqrt(2 D) (gamma - 1) - 3 gamma) = 1/2

    with Phi the distribution function of N(0, 1): half of the radii that noise of one level has
    are within three standard deviations of those that noise of the next level has.

    Args:
        dimension: D, numbers in an image, at least 5 (below, no gamma is the root).

    Raises:
        ValueError: on a smaller dimension.

    Source: Song & Ermon 2020 (arXiv:2006.09011), technique 2.

    Example:
        >>> round(level_ratio(32 * 32 * 3), 4)
        1.0398
    """
    if dimension < 5:
        raise ValueError(f"dimension must be at least 5, not {dimension}")
    root = math.sqrt(2.0 * dimension)

    def excess(ratio):
        middle = root * (ratio - 1.0)
        return _normal_cdf(middle + 3.0 * ratio) - _normal_cdf(middle - 3.0 * ratio) - 0.5

    # At the upper end the second argument is 0, and the difference below 1/2.
    return _bisect(excess, 1.0, root / (root - 3.0))


def choose_num_levels(sigma_begin: float, sigma_end: float, dimension: int) -> int:
    """Number of levels L whose ratio is nearest to that of technique 2.

        L = 1 + log(sigma_begin / sigma_end) / log(gamma), rounded; at least 2

    Args:
        sigma_begin, sigma_end: the ends of the ladder.
        dimension: D, see `level_ratio`.

    Raises:
        ValueError: the ends are not positive, or do not fall; the dimension is too small.

    Example:
        >>> choose_num_levels(50.0, 0.01, 32 * 32 * 3)
        219
    """
    if not 0 < sigma_end < sigma_begin < math.inf:
        raise ValueError(
            f"noise levels must be positive and fall, not {sigma_begin} to {sigma_end}"
        )
    steps = math.log(sigma_begin / sigma_end) / math.log(level_ratio(dimension))
    return 1 + max(1, round(steps))


def variance_ratio(step_lr: float, sigma_end: float, ratio: float, num_steps_each: int) -> float:
    """Variance of the chain at the end of a level over sigma_i^2, when it entered the level with
    the last one's.

        q^{2T} (gamma^2 - c) + c,   q = 1 - e / sigma_L^2,   c = 2 e / (sigma_L^2 (1 - q^2))

    with e = step_lr, T = num_steps_each; it is the same at every level. It should be near 1, and
    is always above: c > 1 is the variance that very many steps would end with.

    Args:
        step_lr: Langevin step size at the last level, 0 < step_lr < 2 sigma_end^2.
        sigma_end: sigma_L.
        ratio: gamma, of neighbouring levels.
        num_steps_each: T.

    Raises:
        ValueError: on a step size with which the chain diverges.

    Source: Song & Ermon 2020 (arXiv:2006.09011), technique 4.

    Example:
        >>> round(variance_ratio(6.2e-6, 0.01, level_ratio(32 * 32 * 3), 5), 3)
        1.058
    """
    share = step_lr / sigma_end**2
    if not 0.0 < share < 2.0:
        raise ValueError(
            f"step_lr must be between 0 and 2 sigma_end^2 = {2 * sigma_end**2:g}, not {step_lr:g}"
        )
    limit = 2.0 / (2.0 - share)  # c
    return (1.0 - share) ** (2 * num_steps_each) * (ratio**2 - limit) + limit


def choose_step_lr(sigma_end: float, ratio: float, num_steps_each: int) -> float:
    """Langevin step size by technique 4: the one whose `variance_ratio` is nearest to 1.

    That is its least value. The published 6.2e-6 of CIFAR-10, 3.3e-6 of CelebA, 1.8e-6 of LSUN
    bedrooms and 0.9e-6 of FFHQ are these; 4.9e-6 of LSUN churches is not, but about twice its
    2.3e-6.

    Args:
        sigma_end: sigma_L, positive.
        ratio: gamma of neighbouring levels, above 1.
        num_steps_each: T, at least 1.

    Raises:
        ValueError: on other values.

    Example:
        >>> f"{choose_step_lr(0.01, 5000 ** (1 / 231), 5):.1e}"  # 232 levels from 50 to 0.01
        '6.2e-06'
    """
    if not (sigma_end > 0 and ratio > 1 and num_steps_each >= 1):
        raise ValueError(
            "sigma_end must be positive, ratio above 1 and num_steps_each at least 1, "
            f"not {sigma_end}, {ratio}, {num_steps_each}"
        )

    def minus_slope(share):  # of the variance ratio, by share = e / sigma_L^2
        gap = ratio**2 - 2.0 / (2.0 - share)
        decay = (1.0 - share) ** (2 * num_steps_each - 1)
        growth = 2.0 / (2.0 - share) ** 2
        return 2.0 * num_steps_each * decay * gap - (1.0 - decay * (1.0 - share)) * growth

    # It falls from a positive value to a negative one where c = gamma^2 (or at share = 1).
    return sigma_end**2 * _bisect(minus_slope, 0.0, min(1.0, 2.0 - 2.0 / ratio**2))


@tf.function(input_signature=[tf.TensorSpec([None, None], tf.float64)] * 2, autograph=False)
def _farthest(rows, columns):
    """The largest squared distance between a row of one block and one of the other, and its place.

    || x - y ||^2 = || x ||^2 + || y ||^2 - 2 x.y: all are whole numbers far below 2^53.
    """
    squares = tf.reduce_sum(tf.square(rows), 1)[:, None] + tf.reduce_sum(tf.square(columns), 1)
    squared = tf.reshape(squares - 2.0 * tf.matmul(rows, columns, transpose_b=True), [-1])
    place = tf.argmax(squared)
    return tf.gather(squared, place), place


def _normal_cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _bisect(function, low, high):
    """The root of a function that is positive at `low` and negative at `high`, to the last bit."""
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            return middle
        low, high = (middle, high) if function(middle) > 0.0 else (low, middle)
