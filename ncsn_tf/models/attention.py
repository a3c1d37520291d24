"""Self-attention over the pixels of an image."""

import math
from typing import Any

import keras
import tensorflow as tf

from ncsn_tf.backend.compat import KEEP_FLOAT32
from ncsn_tf.models import functional
from ncsn_tf.models.group_norm import GroupNorm
from ncsn_tf.models.layers import Convolution


@keras.saving.register_keras_serializable("ncsn_tf")
class SelfAttention(keras.layers.Layer):
    """One head of attention, every pixel to every pixel, added to the image.

        h = GroupNorm(x);   q, k, v = h W_q + b_q, h W_k + b_k, h W_v + b_v
        y = gain (x + softmax(q k^T / sqrt(C)) v W + b)

    The three products are one: `qkv` is [C, 3 C]. (k's bias has no effect: the softmax does not
    change with it.) The kernels of q, k and v start with variance scaling 0.1, the last one with
    1e-10. The softmax is float32.

    Args:
        gain: of the sum: 1 or 1/sqrt(2).
        groups: of the normalisation; None for `group_count`.

    Shapes: [B, H, W, C] -> [B, H, W, C].

    Source: Ho et al. 2020 (arXiv:2006.11239), as the released code of Song et al. 2021 has it.

    Example:
        >>> tuple(SelfAttention()(tf.zeros([2, 4, 4, 8])).shape)
        (2, 4, 4, 8)
    """

    def __init__(self, gain: float = 1.0, groups: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gain = gain
        self.groups = groups

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        bound = math.sqrt(3 * 0.1 / channels)
        self.norm = GroupNorm(groups=self.groups, name="norm", dtype=self.dtype_policy)
        self.norm.build(input_shape)
        self.qkv = self.add_weight(
            name="qkv",
            shape=(channels, 3 * channels),
            initializer=keras.initializers.RandomUniform(-bound, bound),
            **KEEP_FLOAT32,
        )
        self.qkv_bias = self.add_weight(
            name="qkv_bias", shape=(3 * channels,), initializer="zeros", **KEEP_FLOAT32
        )
        self.out = Convolution(channels, size=1, scale=0.0, name="out", dtype=self.dtype_policy)
        self.out.build(input_shape)
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        height, width, channels = x.shape[1:]
        h = tf.reshape(self.norm(x), [-1, channels])
        h = tf.matmul(h, tf.cast(self.qkv, h.dtype))
        h = tf.nn.bias_add(h, tf.cast(self.qkv_bias, h.dtype))
        q, k, v = tf.split(tf.reshape(h, [-1, height * width, 3 * channels]), 3, 2)
        logits = tf.matmul(q * (1.0 / math.sqrt(channels)), k, transpose_b=True)  # [B, H W, H W]
        weights = tf.nn.softmax(tf.cast(logits, tf.float32))
        h = tf.matmul(tf.cast(weights, v.dtype), v)
        h = self.out(tf.reshape(h, [-1, height, width, channels]))
        return functional.scaled_sum(h, x, self.gain)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain, "groups": self.groups}
