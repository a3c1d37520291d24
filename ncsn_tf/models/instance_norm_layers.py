"""Instance normalisation++ as Keras layers, with a table of parameters for every noise level."""

from typing import Any

import keras
import tensorflow as tf

from ncsn_tf.backend.compat import KEEP_FLOAT32
from ncsn_tf.models.instance_norm import instance_norm_plus, labelled_instance_norm_plus


@keras.saving.register_keras_serializable("ncsn_tf")
class ConditionalInstanceNormPlus(keras.layers.Layer):
    """Conditional instance normalisation++ (formula and source: `instance_norm_plus`).

    One table [L, 3 C] holds (gamma, alpha, beta) of every noise level; gamma and alpha start from
    N(1, 0.02^2), beta from 0. The statistics are of one sample, so that training and evaluation
    agree. With classes a second table [num_classes + 1, 3 C], which starts from 0, has what each
    adds to the level's row; the last is for images without a label.

    Args:
        num_levels: L, rows of the table.
        num_classes: classes of images; 0 for a layer that knows none.

    Shapes: [B, H, W, C], levels [B], labels [B] where there are classes -> [B, H, W, C]; C >= 2.

    Example:
        >>> norm = ConditionalInstanceNormPlus(num_levels=10)
        >>> y = norm(tf.ones([2, 8, 8, 3]), tf.constant([0, 9]))
        >>> tuple(y.shape), tuple(norm.table.shape)
        ((2, 8, 8, 3), (10, 9))
    """

    def __init__(self, num_levels: int, num_classes: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_levels = num_levels
        self.num_classes = num_classes

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.table = self.add_weight(
            name="table",
            shape=(self.num_levels, 3 * input_shape[-1]),
            initializer=NormTableInitializer(),
            **KEEP_FLOAT32,
        )
        if self.num_classes:
            self.class_table = self.add_weight(
                name="class_table",
                shape=(self.num_classes + 1, 3 * input_shape[-1]),
                initializer="zeros",
                **KEEP_FLOAT32,
            )
        self.built = True

    def call(self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        table = tf.convert_to_tensor(self.table)
        if not self.num_classes:
            return instance_norm_plus(x, table, levels)
        of_class = tf.convert_to_tensor(self.class_table)
        return labelled_instance_norm_plus(x, table, levels, of_class, labels)

    def get_config(self) -> dict[str, Any]:
        config = {"num_levels": self.num_levels, "num_classes": self.num_classes}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("ncsn_tf")
class InstanceNormPlus(ConditionalInstanceNormPlus):
    """Instance normalisation++ with the same (gamma, alpha, beta), [1, 3 C], at every noise level.

    Classes add to it as they do in `ConditionalInstanceNormPlus`.

    Args:
        num_classes: classes of images; 0 for a layer that knows none.

    Shapes: [B, H, W, C], levels [B], which are not looked at, labels [B] where there are classes
    -> [B, H, W, C]; C >= 2.

    Source: Song & Ermon 2020 (arXiv:2006.09011), section 4 and appendix B.

    Example:
        >>> norm = InstanceNormPlus()
        >>> y = norm(tf.ones([2, 8, 8, 3]), tf.constant([0, 9]))
        >>> tuple(y.shape), tuple(norm.table.shape)
        ((2, 8, 8, 3), (1, 9))
    """

    def __init__(self, num_classes: int = 0, **kwargs: Any) -> None:
        super().__init__(num_levels=1, num_classes=num_classes, **kwargs)

    def call(self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        return super().call(x, tf.zeros_like(levels), labels)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["num_levels"]
        return config


@keras.saving.register_keras_serializable("ncsn_tf")
class NormTableInitializer(keras.initializers.Initializer):
    """(gamma, alpha, beta) side by side: N(1, 0.02^2), N(1, 0.02^2), 0.

    Example:
        >>> table = NormTableInitializer()((10, 6))
        >>> print(table[0].numpy().round())
        [1. 1. 1. 1. 0. 0.]
    """

    def __call__(
        self, shape: tuple[int, int], dtype: tf.DType | str | None = None, **kwargs: Any
    ) -> tf.Tensor:
        num_levels, width = shape
        channels = width // 3
        gain = keras.initializers.RandomNormal(1.0, 0.02)((num_levels, 2 * channels), dtype=dtype)
        return tf.concat([gain, tf.zeros((num_levels, channels), gain.dtype)], axis=1)

    def get_config(self) -> dict[str, Any]:
        return {}
