"""Class labels in networks: what stands for "no label", and the third generation's embedding."""

from typing import Any

import keras
import tensorflow as tf

from ncsn_tf.backend.compat import KEEP_FLOAT32


def check_num_classes(num_classes: int) -> None:
    """Raise a ValueError for a number of classes that no network has.

    Example:
        >>> check_num_classes(0)
    """
    if num_classes < 0:
        raise ValueError(f"num_classes must be at least 0, not {num_classes}")


def labels_or_none_given(
    num_classes: int, labels: tf.Tensor | None, like: tf.Tensor
) -> tf.Tensor | None:
    """The labels a network of K classes works with: `num_classes`, the last row, where it has none.

    Args:
        num_classes: K; 0 for a network that knows no classes.
        labels: int32 [B] in [0, K], or None for images without a label.
        like: [B], what else the network is told.

    Returns:
        int32 [B]; None for a network without classes.

    Raises:
        ValueError: labels for a network without classes.

    Example:
        >>> labels_or_none_given(3, None, tf.zeros([2])).numpy().tolist()
        [3, 3]
    """
    if not num_classes:
        if labels is not None:
            raise ValueError("the network knows no classes: labels must be None")
        return None
    if labels is None:
        return tf.fill(tf.shape(like), num_classes)
    return tf.cast(labels, tf.int32)


@keras.saving.register_keras_serializable("ncsn_tf")
class ClassEmbedding(keras.layers.Layer):
    """A vector for each class, and one for "no label": rows of a table that starts from N(0, 1).

    Args:
        num_classes: K.
        units: length of a vector.

    Shapes: labels int32 [B] in [0, K] -> float32 [B, units].

    Source: Nichol & Dhariwal 2021 (arXiv:2102.09672), whose released code adds it to the time's.

    Example:
        >>> layer = ClassEmbedding(num_classes=10, units=8)
        >>> tuple(layer(tf.constant([0, 10])).shape), tuple(layer.table.shape)
        ((2, 8), (11, 8))
    """

    def __init__(self, num_classes: int, units: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.num_classes = num_classes
        self.units = units

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        self.table = self.add_weight(
            name="table",
            shape=(self.num_classes + 1, self.units),
            initializer=keras.initializers.RandomNormal(0.0, 1.0),
            **KEEP_FLOAT32,
        )
        self.built = True

    def call(self, labels: tf.Tensor) -> tf.Tensor:
        # A product, and not a gather: its gradient is a tensor like all others.
        rows = tf.one_hot(labels, self.num_classes + 1)
        return tf.matmul(rows, tf.convert_to_tensor(self.table))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes, "units": self.units}
