"""Keras layers: convolution with PyTorch's initialisation, and groups of layers."""

import math
from typing import Any

import keras
import tensorflow as tf

from ncsn_tf.backend.blank_weights import kernel_initializer
from ncsn_tf.backend.compat import KEEP_FLOAT32, has_dilated_gradients
from ncsn_tf.models import functional


class LayerTuple:
    """Class attribute for a group of sub-layers: each becomes an attribute under its own name.

    tf.train.Checkpoint does not look into the lists and tuples of a Keras 3 layer: what stands only
    in one is neither saved nor restored, without a word.

    Example:
        >>> class Pair(keras.layers.Layer):
        ...     parts = LayerTuple()
        >>> pair = Pair()
        >>> pair.parts = (Convolution(2, name="first"), Convolution(2, name="second"))
        >>> pair.second is pair.parts[1]
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

    When called without `add_bias`, the bias is left to the caller.

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
            initializer=kernel_initializer(uniform() if is_plain else variance_scaling(self.scale)),
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

    def call(self, x: tf.Tensor, add_bias: bool = True) -> tf.Tensor:
        y = self.product(x, tf.convert_to_tensor(self.kernel))
        if self.bias is None or not add_bias:
            return y
        return tf.nn.bias_add(y, tf.cast(self.bias, self.compute_dtype))

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
