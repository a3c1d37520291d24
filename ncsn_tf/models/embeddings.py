"""How a network of the third generation is told the noise: sines, cosines, two dense layers."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat import KEEP_FLOAT32
from ncsn_tf.models.group_norm import ACTIVATIONS
from ncsn_tf.models.layers import variance_scaling

EMBEDDINGS = ("fourier", "positional")
FOURIER_SCALE = 16.0


def fourier_embedding(sigma: tf.Tensor, frequencies: tf.Tensor) -> tf.Tensor:
    """[sin a, cos a], a = 2 pi log(sigma) W: float32 [B, 2 F].

    Args:
        sigma: float [B], standard deviations, positive.
        frequencies: float32 [F], W.

    Source: Song et al. 2021 (arXiv:2011.13456), appendix C.

    Example:
        >>> e = fourier_embedding(tf.constant([1.0]), tf.constant([3.0, -7.0]))
        >>> e.numpy().tolist()
        [[0.0, -0.0, 1.0, 1.0]]
    """
    # Of whole rows: in a vector [B] the logarithm would not round alike in every position.
    rows = tf.cast(sigma, tf.float32)[:, None] + tf.zeros_like(frequencies)
    angle = tf.math.log(rows) * frequencies * 2.0 * math.pi
    return tf.concat([tf.sin(angle), tf.cos(angle)], 1)


def positional_embedding(time: tf.Tensor, width: int) -> tf.Tensor:
    """[sin(t f), cos(t f)], f_i = 10000^(-i / (n - 1)), n = width // 2: float32 [B, width].

    One zero is appended where the width is odd.

    Args:
        time: [B], numbers or integers: a label, or 999 t.
        width: at least 4.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), as Ho et al. 2020 (arXiv:2006.11239) have it.

    Example:
        >>> positional_embedding(tf.constant([0]), 5).numpy().tolist()
        [[0.0, 0.0, 1.0, 1.0, 0.0]]
    """
    half = width // 2
    # The exponents are rounded to float32, as in the released code: at t = 999 it is to be seen.
    exponents = np.arange(half, dtype=np.float32) * np.float32(-math.log(10000) / (half - 1))
    frequencies = np.exp(exponents.astype(np.float64)).astype(np.float32)
    angle = tf.cast(time, tf.float32)[:, None] * frequencies
    embedding = tf.concat([tf.sin(angle), tf.cos(angle)], 1)
    return tf.pad(embedding, [[0, 0], [0, width % 2]])


@keras.saving.register_keras_serializable("ncsn_tf")
class ConditionEmbedding(keras.layers.Layer):
    """The embedding of a condition, and two dense layers of 4 F units with an activation between.

    Args:
        features: F, the width of a positional embedding and half that of a Fourier one.
        kind: "fourier" (the condition is sigma; W ~ N(0, 16^2) is drawn once and not trained) or
            "positional".
        dense: whether there are dense layers.
        activation: one of `ACTIVATIONS`.

    Shapes: condition [B] -> float32 [B, 4 F]; without dense layers the embedding itself.

    Example:
        >>> layer = ConditionEmbedding(8, "positional")
        >>> tuple(layer(tf.constant([0, 999])).shape)
        (2, 32)
    """

    def __init__(
        self,
        features: int,
        kind: str,
        dense: bool = True,
        activation: str = "swish",
        **kwargs: Any,
    ) -> None:
        # A condition may be 347.9: it is not rounded to the type that convolutions compute in.
        super().__init__(autocast=False, **{**kwargs, "dtype": "float32"})
        self.features = features
        self.kind = kind
        self.dense = dense
        self.activation = activation

    def build(self, input_shape: tuple[int | None, ...] | None = None) -> None:
        width = self.features
        if self.kind == "fourier":
            width *= 2
            self.frequencies = self.add_weight(
                name="frequencies",
                shape=(self.features,),
                initializer=keras.initializers.RandomNormal(0.0, FOURIER_SCALE),
                trainable=False,
                **KEEP_FLOAT32,
            )
        if self.dense:
            units = 4 * self.features
            for name, inputs in (("dense0", width), ("dense1", units)):
                layer = keras.layers.Dense(
                    units, kernel_initializer=variance_scaling(1.0), name=name, dtype="float32"
                )
                layer.build((None, inputs))
                setattr(self, name, layer)
        self.built = True

    def call(self, condition: tf.Tensor) -> tf.Tensor:
        e = self.embed(condition)
        if not self.dense:
            return e
        return self.dense1(ACTIVATIONS[self.activation].value(self.dense0(e)))

    def embed(self, condition: tf.Tensor) -> tf.Tensor:
        """What the dense layers get."""
        if self.kind == "fourier":
            return fourier_embedding(condition, tf.convert_to_tensor(self.frequencies))
        return positional_embedding(condition, self.features)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "features": self.features,
            "kind": self.kind,
            "dense": self.dense,
            "activation": self.activation,
        }
