"""Keras layers: convolution with PyTorch's initialisation, instance normalisation++."""

import math
from typing import Any

import keras
import tensorflow as tf

from ncsn_tf.backend.compat import KEEP_FLOAT32, has_dilated_gradients
from ncsn_tf.models import functional


class LayerTuple:
    """Class attribute for a group of sub-layers: each becomes an attribute under its own name.

    tf.train.Checkpoint does not look into the lists and tuples of a Keras 3 layer: what stands only
    in one is neither saved nor restored, without a word.

    Example:
        >>> class Pair(keras.layers.Layer):
        ...     norms = LayerTuple()
        >>> pair = Pair()
        >>> pair.norms = (InstanceNormPlus(name="first"), InstanceNormPlus(name="second"))
        >>> pair.second is pair.norms[1]
        True
    """

    def __set_name__(self, owner, name):
        self.names = f"_{name}_names"

    def __set__(self, instance, layers):
        for layer in layers:
            setattr(instance, layer.name, layer)
        setattr(instance, self.names, tuple(layer.name for layer in layers))

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        return tuple(getattr(instance, name) for name in getattr(instance, self.names))


@keras.saving.register_keras_serializable("ncsn_tf")
class Convolution(keras.layers.Layer):
    """Square convolution, stride 1, zero padding that keeps the image's size; mean pool on demand.

    Kernel and bias start from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default, fan_in =
    size^2 * inputs; with `scale` the kernel starts as `variance_scaling` says, the bias from 0.

    Args:
        filters: channels of the result.
        size: side of the kernel, odd.
        dilation: distance between the kernel's taps.
        use_bias: whether a bias is added.
        pool: whether the mean of each 2 x 2 block of the result is taken. Both are then computed as
            one (`functional.pooled_kernel`), for less than half the work.
        scale: of the kernel's initial variance; None for PyTorch's default.

    When called, `gain` multiplies the result (by way of kernel and bias, which are smaller), and
    without `add_bias` the bias is left to the caller.

    Shapes: [B, H, W, inputs] -> [B, H, W, filters]; with `pool`, [B, H/2, W/2, filters], H and W
    even.

    Raises:
        ValueError: pooling after another kernel than 3 x 3, or a dilated one.

    Example:
        >>> x = tf.zeros([2, 8, 8, 3])
        >>> tuple(Convolution(16)(x).shape), tuple(Convolution(16, pool=True)(x).shape)
        ((2, 8, 8, 16), (2, 4, 4, 16))
    """

    def __init__(
        self,
        filters: int,
        size: int = 3,
        dilation: int = 1,
        use_bias: bool = True,
        pool: bool = False,
        scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pool and (size, dilation) != (3, 1):
            raise ValueError(
                f"pool needs a 3 x 3 kernel without dilation, not size {size}, dilation {dilation}"
            )
        self.filters = filters
        self.size = size
        self.dilation = dilation
        self.use_bias = use_bias
        self.pool = pool
        self.scale = scale

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        inputs = input_shape[-1]
        bound = 1.0 / math.sqrt(self.size**2 * inputs)

        def uniform():  # a new one each time: what one and the same draws twice is the same
            return keras.initializers.RandomUniform(-bound, bound)

        is_plain = self.scale is None
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.size, self.size, inputs, self.filters),
            initializer=uniform() if is_plain else variance_scaling(self.scale),
            **KEEP_FLOAT32,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=uniform() if is_plain else "zeros",
                **KEEP_FLOAT32,
            )
        self.built = True

    def call(self, x: tf.Tensor, gain: float = 1.0, add_bias: bool = True) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        y = self.product(x, kernel if gain == 1.0 else kernel * gain)
        if self.bias is None or not add_bias:
            return y
        bias = self.bias if gain == 1.0 else self.bias * gain
        return tf.nn.bias_add(y, tf.cast(bias, self.compute_dtype))

    def product(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The result without bias, for the float32 kernel."""
        stride = 1
        if self.pool:
            kernel, stride = functional.pooled_kernel(kernel), 2
        kernel = tf.cast(kernel, self.compute_dtype)
        if self.dilation == 1 or has_dilated_gradients():
            return tf.nn.conv2d(x, kernel, stride, "SAME", dilations=self.dilation)
        return functional.dilated_convolution(x, kernel, self.dilation)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "size": self.size,
            "dilation": self.dilation,
            "use_bias": self.use_bias,
            "pool": self.pool,
            "scale": self.scale,
        }


def variance_scaling(scale: float) -> keras.initializers.Initializer:
    """U(-b, b), b^2 = 3 scale / ((fan_in + fan_out) / 2): how the third generation's kernels start.

    The fans of a convolution count the kernel's area. A scale of 0 is 1e-10, as in the released
    code.

    Example:
        >>> kernel = variance_scaling(1.0)((3, 3, 8, 16))  # b^2 = 3 / 108
        >>> bool(0.15 < tf.reduce_max(kernel) < 1 / 6)
        True
    """
    return keras.initializers.VarianceScaling(scale or 1e-10, "fan_avg", "uniform")


@keras.saving.register_keras_serializable("ncsn_tf")
class ConditionalInstanceNormPlus(keras.layers.Layer):
    """Conditional instance normalisation++ (formula and source: `functional.instance_norm_plus`).

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
            return functional.instance_norm_plus(x, table, levels)
        of_class = tf.convert_to_tensor(self.class_table)
        return functional.labelled_instance_norm_plus(x, table, levels, of_class, labels)

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
