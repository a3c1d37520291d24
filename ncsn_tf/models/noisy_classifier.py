"""A classifier of images perturbed by noise of known level."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.models.instance_norm_layers import ConditionalInstanceNormPlus
from ncsn_tf.models.layers import Convolution, LayerTuple


@keras.saving.register_keras_serializable("ncsn_tf")
class NoisyClassifier(keras.Model):
    """A small convolutional classifier that knows the noise level by its normalisation.

    A convolution of x, then three times conditional instance normalisation++, ELU, convolution and
    2 x 2 mean pool, of g, 2 g and 4 g channels; after one more normalisation and ELU a dense layer.
    It is complete after construction.

    Args:
        image_shape: (H, W, C), H and W at least 8.
        features: g, at least 2.
        sigmas: [L], standard deviations of the noise levels; only their number matters to the
            network.
        num_classes: K.

    Shapes: x float32 [B, H, W, C], levels int32 [B] in [0, L) -> logits float32 [B, K].

    Example:
        >>> classifier = NoisyClassifier((8, 8, 1), features=2, sigmas=[1.0, 0.1], num_classes=10)
        >>> tuple(classifier(tf.zeros([3, 8, 8, 1]), tf.constant([0, 1, 1])).shape)
        (3, 10)
    """

    norms = LayerTuple()
    convs = LayerTuple()

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        features: int,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor,
        num_classes: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        self.features = features
        self.sigmas = np.asarray(sigmas, np.float32)
        self.num_classes = num_classes
        self.build((None, *self.image_shape))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        height, width, channels = self.image_shape
        num_levels, widths = len(self.sigmas), [self.features * 2**stage for stage in range(3)]
        self.begin_conv = Convolution(self.features, name="begin_conv")
        self.begin_conv.build((None, height, width, channels))
        norms, convs, inputs = [], [], self.features
        for index, filters in enumerate(widths):
            norms.append(ConditionalInstanceNormPlus(num_levels, name=f"norm{index}"))
            convs.append(Convolution(filters, name=f"conv{index}"))
            norms[-1].build((None, height, width, inputs))
            convs[-1].build((None, height, width, inputs))
            height, width, inputs = height // 2, width // 2, filters
        norms.append(ConditionalInstanceNormPlus(num_levels, name="end_norm"))
        norms[-1].build((None, height, width, inputs))
        self.norms, self.convs = tuple(norms), tuple(convs)
        self.dense = keras.layers.Dense(self.num_classes, name="dense")
        self.dense.build((None, height * width * inputs))
        self.built = True

    def call(self, x: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
        h = self.begin_conv(2.0 * x - 1.0)
        *norms, end_norm = self.norms
        for norm, conv in zip(norms, self.convs, strict=True):
            h = tf.nn.avg_pool2d(conv(tf.nn.elu(norm(h, levels))), 2, 2, "VALID")
        h = tf.nn.elu(end_norm(h, levels))
        return self.dense(tf.reshape(h, [-1, h.shape[1] * h.shape[2] * h.shape[3]]))

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings}

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, as JSON can hold them.

        Example:
            >>> NoisyClassifier((8, 8, 1), 2, [1.0, 0.5], num_classes=10).settings["sigmas"]
            [1.0, 0.5]
        """
        return {
            "image_shape": [int(side) for side in self.image_shape],
            "features": self.features,
            "sigmas": self.sigmas.tolist(),
            "num_classes": self.num_classes,
        }
