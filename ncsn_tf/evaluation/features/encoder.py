"""The small convolutional network that is trained on the data set at hand."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.backend.compat import raw_variables

FEATURES = 128  # D
_LARGEST_SIDE = 64  # pixels; larger images are made smaller
_SMALLEST_SIDE = 4  # where strides end
_WIDTHS = (32, 64, 64)  # channels at full size, at half, and below


class Encoder(NamedTuple):
    """A trunk from images to features, and a head from features to what is trained.

    Attributes:
        trunk: float32 [B, H, W, C] in [0, 1] -> float32 [B, D].
        head: float32 [B, D] -> float32 [B, K].
        size: (H, W).
        num_classes: K of a classifier; 0 where the head tells images apart.
    """

    trunk: keras.Model
    head: keras.Model
    size: tuple[int, int]
    num_classes: int

    @property
    def weights(self) -> list[tf.Variable]:
        """All of them, in order."""
        return [*raw_variables(self.trunk), *raw_variables(self.head)]

    def resized(self, images: tf.Tensor) -> tf.Tensor:
        """Images [B, h, w, C] in the size of the network."""
        if tuple(images.shape[1:3]) == self.size:
            return images
        return tf.clip_by_value(tf.image.resize(images, self.size, antialias=True), 0.0, 1.0)


def make_encoder(image_shape: tuple[int, int, int], num_classes: int, seed: int) -> Encoder:
    """An encoder of random weights, which are a function of the seed.

    A 3 x 3 convolution, then others of stride 2 until 4 pixels are left, ReLU after each, then a
    dense layer of `FEATURES` with ReLU; the head is one dense layer.

    Args:
        image_shape: (H, W, C) of the images; larger sides than 64 are resized.
        num_classes: K of a classifier; 0 has a head of `FEATURES`.
        seed: of the weights.

    Example:
        >>> encoder = make_encoder((28, 28, 1), num_classes=10, seed=0)
        >>> tuple(encoder.trunk(tf.zeros([2, 28, 28, 1])).shape), encoder.size
        ((2, 128), (28, 28))
    """
    size = _size(image_shape[:2])
    convolutions = [(_WIDTHS[0], 1)]
    sides = np.array(size)
    while sides.max() > _SMALLEST_SIDE:
        convolutions.append((_WIDTHS[min(len(convolutions), len(_WIDTHS) - 1)], 2))
        sides = -(-sides // 2)

    def options(name):
        number = seed * 100 + len(layers)
        return {
            "name": f"features_{name}",
            "dtype": "float32",  # whatever the policy of a run is
            "kernel_initializer": keras.initializers.HeNormal(seed=number),
        }

    layers = []
    for width, stride in convolutions:
        name = f"convolution{len(layers)}"
        layers.append(
            keras.layers.Conv2D(
                width, 3, stride, padding="same", activation="relu", **options(name)
            )
        )
    dense = keras.layers.Dense(FEATURES, activation="relu", **options("dense"))
    layers += [keras.layers.Flatten(name="features_flatten", dtype="float32"), dense]
    head = keras.layers.Dense(num_classes or FEATURES, **options("head"))
    trunk = keras.Sequential(layers, name="features_trunk")
    trunk.build((None, *size, image_shape[2]))
    heads = keras.Sequential([head], name="features_heads")
    heads.build((None, FEATURES))
    return Encoder(trunk, heads, size, num_classes)


def _size(sides):
    """The size in which images pass: theirs, or smaller ones of the same shape."""
    factor = min(1.0, _LARGEST_SIDE / max(sides))
    return tuple(max(1, round(side * factor)) for side in sides)
