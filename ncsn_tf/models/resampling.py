"""Halving and doubling of an image's sides, with a FIR filter or plainly, and with convolutions.

All of it is linear, and written as convolutions of TensorFlow: a filter, in both directions of the
image, acts on every channel alone, that is as a depthwise convolution. Doubling is the transpose of
a convolution of stride 2.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.models import functional
from ncsn_tf.models.layers import Convolution

FIR_KERNEL = (1, 3, 3, 1)
RESAMPLINGS = ("none", "up", "down")


def upsample(x: tf.Tensor, fir: Sequence[float] | None = FIR_KERNEL) -> tf.Tensor:
    """Twice the height and width: [B, H, W, C] -> [B, 2 H, 2 W, C].

    With a filter: a zero behind every pixel, then the filter of sum 2 in each direction, so that a
    constant image stays constant but for its borders, outside which there are zeros. Without one,
    every pixel four times.

    Args:
        x: float, height and width static.
        fir: the filter's taps, or None.

    Source: Karras et al. 2020 (arXiv:1912.04958), as the released code of NCSN++ uses it.

    Example:
        >>> x = tf.ones([1, 3, 3, 1])
        >>> upsample(x)[0, 2, :, 0].numpy().tolist()
        [0.75, 1.0, 1.0, 1.0, 1.0, 0.75]
        >>> tuple(upsample(x, None).shape)
        (1, 6, 6, 1)
    """
    height, width, channels = x.shape[1:]
    if fir is None:
        repeated = tf.broadcast_to(
            x[:, :, None, :, None], [tf.shape(x)[0], height, 2, width, 2, channels]
        )
        return tf.reshape(repeated, [-1, 2 * height, 2 * width, channels])
    before = len(fir) - 1 - ((len(fir) - 1) // 2 + 1)
    return _transposed_filter(x, fir, before, (2 * height, 2 * width))


def downsample(x: tf.Tensor, fir: Sequence[float] | None = FIR_KERNEL) -> tf.Tensor:
    """Half the height and width: [B, H, W, C] -> [B, H/2, W/2, C].

    With a filter: the filter of sum 1 in each direction, zeros outside the image, then every other
    pixel. Without one, the mean of each 2 x 2 block.

    Args:
        x: float, height and width static and even.
        fir: the filter's taps, or None.

    Source: see `upsample`.

    Example:
        >>> downsample(tf.ones([1, 6, 6, 1]))[0, 1, :, 0].numpy().tolist()
        [0.875, 1.0, 0.875]
    """
    if fir is None:
        return functional.mean_pool(x)
    extra = len(fir) - 2
    return _filter(x, fir, ((extra + 1) // 2, extra // 2), 2)


def convolve_up(
    x: tf.Tensor, kernel: tf.Tensor, fir: Sequence[float] | None = FIR_KERNEL
) -> tf.Tensor:
    """Doubled sides and a 3 x 3 convolution as one: [B, H, W, C] -> [B, 2 H, 2 W, F].

    With a filter, the kernel is applied to the image with its zeros behind every pixel, and the
    filter comes last. Without one,

        conv(repeat(x), K) = transposed conv(x, 4 pooled_kernel(K) turned by 180 degrees), stride 2,

    for less than half the work, borders included (`functional.pooled_kernel`).

    Args:
        x: float [B, H, W, C].
        kernel: float32 [3, 3, C, F]; rounded to x's type where it is used.
        fir: the filter's taps, or None.

    Example:
        >>> x, kernel = tf.random.normal([1, 4, 4, 2]), tf.random.normal([3, 3, 2, 5])
        >>> plain = tf.nn.conv2d(upsample(x, None), kernel, 1, "SAME")
        >>> bool(tf.reduce_max(tf.abs(convolve_up(x, kernel, None) - plain)) < 1e-4)
        True
    """
    height, width = x.shape[1:3]
    filters = kernel.shape[3]
    if fir is None:
        kernel, shape, padding = (
            4 * functional.pooled_kernel(kernel),
            (2 * height, 2 * width),
            "SAME",
        )
    else:
        shape, padding = (2 * height + 1, 2 * width + 1), "VALID"
    turned = tf.cast(tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2]), x.dtype)
    y = tf.nn.conv2d_transpose(x, turned, [tf.shape(x)[0], *shape, filters], 2, padding)
    y = tf.ensure_shape(y, [x.shape[0], *shape, filters])
    if fir is None:
        return y
    extra = len(fir) - 4
    return _filter(y, fir, ((extra + 1) // 2 + 1, extra // 2 + 1), 1, gain=2.0)


def convolve_down(
    x: tf.Tensor, kernel: tf.Tensor, fir: Sequence[float] | None = FIR_KERNEL
) -> tf.Tensor:
    """Halved sides with a 3 x 3 convolution of stride 2: [B, H, W, C] -> [B, H/2, W/2, F].

    With a filter, it comes first, at full size. Without one, there is a row and a column of zeros
    below and on the right alone.

    Args:
        x: float [B, H, W, C], height and width even.
        kernel: float32 [3, 3, C, F]; rounded to x's type where it is used.
        fir: the filter's taps, or None.

    Example:
        >>> x, kernel = tf.ones([1, 4, 4, 1]), tf.ones([3, 3, 1, 1])
        >>> convolve_down(x, kernel, None)[0, 0, :, 0].numpy().tolist()
        [9.0, 6.0]
    """
    kernel = tf.cast(kernel, x.dtype)
    if fir is None:
        return tf.nn.conv2d(x, kernel, 2, "SAME")
    extra = len(fir)
    x = _filter(x, fir, ((extra + 1) // 2, extra // 2), 1)
    return tf.nn.conv2d(x, kernel, 2, "VALID")


@keras.saving.register_keras_serializable("ncsn_tf")
class ResamplingConvolution(Convolution):
    """A convolution that doubles or halves the sides (`convolve_up`, `convolve_down`), with bias.

    Args:
        filters, scale: see `Convolution`; the kernel is 3 x 3.
        resample: "up" or "down".
        fir: the filter's taps, or None.

    Example:
        >>> layer = ResamplingConvolution(4, "up")
        >>> tuple(layer(tf.zeros([2, 8, 8, 3])).shape)
        (2, 16, 16, 4)
    """

    def __init__(
        self,
        filters: int,
        resample: str,
        fir: Sequence[float] | None = FIR_KERNEL,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, **kwargs)
        if resample not in RESAMPLINGS[1:]:
            raise ValueError(f"resample must be one of {RESAMPLINGS[1:]}, not {resample!r}")
        self.resample = resample
        self.fir = None if fir is None else tuple(fir)

    def product(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The result without bias, for the float32 kernel."""
        convolve = convolve_up if self.resample == "up" else convolve_down
        return convolve(x, kernel, self.fir)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "resample": self.resample, "fir": self.fir}


@keras.saving.register_keras_serializable("ncsn_tf")
class Resampling(keras.layers.Layer):
    """`upsample` or `downsample` as a layer, without weights.

    Args:
        resample: "up" or "down".
        fir: the filter's taps, or None.

    Example:
        >>> tuple(Resampling("down")(tf.zeros([2, 8, 8, 3])).shape)
        (2, 4, 4, 3)
    """

    def __init__(
        self, resample: str, fir: Sequence[float] | None = FIR_KERNEL, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.resample = resample
        self.fir = None if fir is None else tuple(fir)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return (upsample if self.resample == "up" else downsample)(x, self.fir)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "resample": self.resample, "fir": self.fir}


def _filter(x, fir, padding, stride, gain=1.0):
    """True convolution with the filter in both directions, every channel alone.

    The outer taps of an image that is `padding` (before, after) pixels of zeros wider.
    """
    kernel = _depthwise_kernel(fir[::-1], gain, x)
    around = [[0, 0], padding, padding, [0, 0]]
    return tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], around)


def _transposed_filter(x, fir, before, shape):
    """The filter on an image with a zero behind every pixel, from `before` on: [B, *shape, C]."""
    kernel = _depthwise_kernel(fir, 2.0, x)
    padding = []
    for size, target in zip(x.shape[1:3], shape, strict=True):
        padding += [before, 2 * (size - 1) + len(fir) - target - before]
    return tf.ensure_shape(
        tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=[tf.shape(x)[0], *shape, x.shape[3]],
            filter=kernel,
            out_backprop=x,
            strides=[1, 2, 2, 1],
            padding="EXPLICIT",
            explicit_paddings=[0, 0, *padding, 0, 0],
        ),
        [x.shape[0], *shape, x.shape[3]],
    )


def _depthwise_kernel(fir, gain, x):
    """[L, L, C, 1] of x's type: the products of the taps, of sum gain^2."""
    taps = np.asarray(fir, np.float64)
    taps = taps * (gain / taps.sum())
    square = np.outer(taps, taps)[:, :, None, None]
    return tf.constant(np.tile(square, [1, 1, x.shape[3], 1]), x.dtype)
