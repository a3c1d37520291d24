"""One number an example, in a shape to be multiplied with its array."""

import tensorflow as tf


def column(values: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """[B] -> [B, 1, ...], to be multiplied with x.

    Example:
        >>> tuple(column(tf.constant([1.0, 2.0]), tf.zeros([2, 8, 8, 3])).shape)
        (2, 1, 1, 1)
    """
    return tf.reshape(values, [-1] + [1] * (x.shape.rank - 1))
