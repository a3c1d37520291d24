"""The blocks of the third generation's networks: residual, and at the end of a pyramid."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ncsn_tf.backend.blank_weights import kernel_initializer
from ncsn_tf.models import functional
from ncsn_tf.models.group_norm import GroupNorm
from ncsn_tf.models.layers import Convolution, variance_scaling
from ncsn_tf.models.resampling import (
    FIR_KERNEL,
    ResamplingConvolution,
    downsample,
    upsample,
)

Dropout = Callable[[tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable("ncsn_tf")
class ResNetBlock(keras.layers.Layer):
    """Two convolutions with group normalisation, the condition added between, and a shortcut.

        h = conv0(resample(a(GN0(x)))) + dense(condition)
        y = gain (shortcut(resample(x)) + conv1(dropout(a(GN1(h)))))

    The shortcut is a 1 x 1 convolution where the channels change, and where the block resamples;
    otherwise the identity. The sum of conv0's bias and the condition is part of GN1 (its `shift`).
    Kernels start with variance scaling 1, conv1's with 1e-10.

    Args:
        filters: channels of the result.
        embedding: channels of the condition; 0 for a block without one.
        resample: "none", "up" or "down".
        fir: the taps of the filter that resamples, or None.
        gain: of the sum: 1 or 1/sqrt(2).
        activation: a, one of `ACTIVATIONS`.
        shortcut_scale: of the shortcut's initial variance: 1, or 0.1 in the blocks of DDPM.
        groups: of the normalisations; None for `group_count`.

    Shapes: [B, H, W, C], condition [B, embedding] (already activated) or None, dropout (a function
    of a tensor) or None -> [B, H, W, filters], or twice or half the height and width.

    Source: Brock et al. 2019 (arXiv:1809.11096) and Ho et al. 2020 (arXiv:2006.11239), as the
    released code of Song et al. 2021 has them.

    Example:
        >>> block = ResNetBlock(8, embedding=16, resample="down")
        >>> tuple(block(tf.ones([2, 8, 8, 4]), tf.ones([2, 16])).shape)
        (2, 4, 4, 8)
    """

    def __init__(
        self,
        filters: int,
        embedding: int,
        resample: str = "none",
        fir: Sequence[float] | None = FIR_KERNEL,
        gain: float = 1.0,
        activation: str = "swish",
        shortcut_scale: float = 1.0,
        groups: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.embedding = embedding
        self.resample = resample
        self.fir = None if fir is None else tuple(fir)
        self.gain = gain
        self.activation = activation
        self.shortcut_scale = shortcut_scale
        self.groups = groups

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels, policy = input_shape[-1], {"dtype": self.dtype_policy}
        norm = {"activation": self.activation, "groups": self.groups, **policy}
        self.norm0 = GroupNorm(name="norm0", **norm)
        self.norm0.build(input_shape)
        # With repeated pixels doubling and convolution are one operation; with a filter they are
        # not, at the borders.
        self.doubles = self.resample == "up" and self.fir is None
        if self.doubles:
            self.conv0 = ResamplingConvolution(
                self.filters, "up", None, scale=1.0, name="conv0", **policy
            )
        else:
            self.conv0 = Convolution(self.filters, scale=1.0, name="conv0", **policy)
        self.conv0.build(input_shape)
        if self.embedding:
            self.dense = keras.layers.Dense(
                self.filters,
                kernel_initializer=kernel_initializer(variance_scaling(1.0)),
                name="dense",
                **policy,
            )
            self.dense.build((None, self.embedding))
        inner = (None, *input_shape[1:3], self.filters)
        self.norm1 = GroupNorm(name="norm1", **norm)
        self.norm1.build(inner)
        self.conv1 = Convolution(self.filters, scale=0.0, name="conv1", **policy)
        self.conv1.build(inner)
        self.shortcut = None
        if channels != self.filters or self.resample != "none":
            self.shortcut = Convolution(
                self.filters, size=1, scale=self.shortcut_scale, name="shortcut", **policy
            )
            self.shortcut.build(input_shape)
        self.built = True

    def call(
        self,
        x: tf.Tensor,
        condition: tf.Tensor | None = None,
        dropout: Dropout | None = None,
    ) -> tf.Tensor:
        h = self.norm0(x)
        if self.resample == "down":
            h = downsample(h, self.fir)
        elif self.resample == "up" and not self.doubles:
            h = upsample(h, self.fir)
        h = self.conv0(h, add_bias=False)
        h = self.norm1(h, self._shift(condition))
        if dropout is not None:
            h = dropout(h)
        return functional.scaled_sum(self.conv1(h), self._shortcut(x), self.gain)

    def _shift(self, condition):
        """The condition's dense layer and conv0's bias: [B, filters], [1, filters] without one.

        The dense layer's own call would add its bias in an operation more, with a longer gradient.
        """
        bias = tf.cast(self.conv0.bias, tf.float32)
        if not self.embedding:
            return bias[None]
        product = tf.matmul(condition, tf.cast(self.dense.kernel, condition.dtype))
        bias = bias + tf.cast(self.dense.bias, tf.float32)
        return tf.nn.bias_add(tf.cast(product, tf.float32), bias)

    def _shortcut(self, x):
        if self.shortcut is None:
            return x
        if self.resample == "up":
            # The 1 x 1 convolution commutes with the doubling, and first it is a quarter of the
            # work. The bias does not, at a filter's borders.
            x = upsample(self.shortcut(x, add_bias=False), self.fir)
            return tf.nn.bias_add(x, tf.cast(self.shortcut.bias, x.dtype))
        if self.resample == "down":
            x = downsample(x, self.fir)
        return functional.barrier(self.shortcut(x))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "embedding": self.embedding,
            "resample": self.resample,
            "fir": self.fir,
            "gain": self.gain,
            "activation": self.activation,
            "shortcut_scale": self.shortcut_scale,
            "groups": self.groups,
        }


@keras.saving.register_keras_serializable("ncsn_tf")
class NormedConvolution(keras.layers.Layer):
    """conv3x3(a(GroupNorm(x))): what draws an image, or begins a pyramid.

    Args:
        filters, scale: see `Convolution`.
        activation: a, one of `ACTIVATIONS`.
        groups: of the normalisation; None for `group_count`.

    Shapes: [B, H, W, C] -> [B, H, W, filters].

    Example:
        >>> tuple(NormedConvolution(3)(tf.ones([2, 8, 8, 4])).shape)
        (2, 8, 8, 3)
    """

    def __init__(
        self,
        filters: int,
        scale: float = 0.0,
        activation: str = "swish",
        groups: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.scale = scale
        self.activation = activation
        self.groups = groups

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        policy = {"dtype": self.dtype_policy}
        self.norm = GroupNorm(self.activation, self.groups, name="norm", **policy)
        self.norm.build(input_shape)
        self.conv = Convolution(self.filters, scale=self.scale, name="conv", **policy)
        self.conv.build(input_shape)
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.conv(self.norm(x))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "scale": self.scale,
            "activation": self.activation,
            "groups": self.groups,
        }


@keras.saving.register_keras_serializable("ncsn_tf")
class Combination(keras.layers.Layer):
    """Brings a pyramid's image into the features by a 1 x 1 convolution.

    Args:
        filters: channels of the features and of the convolution.
        method: "sum", or "cat" for the convolution's result before the features.

    Shapes: pyramid [B, H, W, P], features [B, H, W, filters] -> [B, H, W, filters], or twice as
    many channels with "cat".

    Example:
        >>> layer = Combination(8, "cat")
        >>> tuple(layer(tf.ones([2, 4, 4, 3]), tf.ones([2, 4, 4, 8])).shape)
        (2, 4, 4, 16)
    """

    def __init__(self, filters: int, method: str = "sum", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.method = method

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.conv = Convolution(
            self.filters, size=1, scale=1.0, name="conv", dtype=self.dtype_policy
        )
        self.conv.build(input_shape)
        self.built = True

    def call(self, pyramid: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        image = self.conv(pyramid)
        if self.method == "cat":
            return tf.concat([image, features], -1)
        return functional.barrier(image) + features

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "method": self.method}
