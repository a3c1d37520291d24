"""The largest distance between two images of a data set, exactly, in bounded memory."""

import numpy as np
import tensorflow as tf

_BLOCK_BYTES = 2**26  # of one block of images in float64
_BLOCK_IMAGES = 2048  # so that the distances of two blocks fit in half of that


def max_pairwise_distance(images, on_rows=None, block_images=None):
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


@tf.function(input_signature=[tf.TensorSpec([None, None], tf.float64)] * 2, autograph=False)
def _farthest(rows, columns):
    """The largest squared distance between a row of one block and one of the other, and its place.

    || x - y ||^2 = || x ||^2 + || y ||^2 - 2 x.y: all are whole numbers far below 2^53.
    """
    squares = tf.reduce_sum(tf.square(rows), 1)[:, None] + tf.reduce_sum(tf.square(columns), 1)
    squared = tf.reshape(squares - 2.0 * tf.matmul(rows, columns, transpose_b=True), [-1])
    place = tf.argmax(squared)
    return tf.gather(squared, place), place
