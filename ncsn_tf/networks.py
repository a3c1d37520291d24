"""The noise-conditional score network of Song & Ermon 2019."""

import keras
import tensorflow as tf

from ncsn_tf.blocks import PreactivatedConvolution, RefineBlock, ResidualBlock
from ncsn_tf.layers import Convolution, LayerTuple


@keras.saving.register_keras_serializable("ncsn_tf")
class NCSN(keras.Model):
    """Noise-conditional score network: a dilated RefineNet with conditional instance
    normalisation++.

    s(x, i) estimates the score grad_x log q_i(x) of the data perturbed by noise of standard
    deviation sigma_i. Four stages of two residual blocks (the second halves the resolution, the
    third and fourth dilate by 2 and 4), four refine blocks back up, ELU throughout. x is rescaled
    to [-1, 1] inside. The network is complete after
    construction: restoring a checkpoint needs no call first.

    Example:
        network = NCSN(image_shape=(32, 32, 3), features=128, num_levels=10)
        score = network(x, labels)

    Args:
        image_shape: (height, width, channels), height and width even.
        features: channels g of the first stage, at least 2 (128 for CIFAR-10 and CelebA, 64 for
            MNIST).
        num_levels: number of noise levels L.

    Shapes: x float [B, height, width, channels] with data in [0, 1], labels int32 [B] in [0, L) ->
    score float32, of x's shape.

    Raises:
        ValueError: on sizes that the network cannot have.

    Source: Song & Ermon 2019 (arXiv:1907.05600), section 4 and appendix A; sizes and details of the
    released code.
    """

    blocks = LayerTuple()
    refinements = LayerTuple()

    def __init__(self, image_shape, features, num_levels, **kwargs):
        super().__init__(**kwargs)
        height, width, channels = image_shape
        if height % 2 or width % 2 or min(height, width) < 4:
            raise ValueError(
                f"image height and width must be even and at least 4, not {height} x {width}"
            )
        if features < 2 or num_levels < 1 or channels < 1:
            raise ValueError(
                "features must be at least 2, num_levels and channels at least 1, "
                f"not {features}, {num_levels}, {channels}"
            )
        self.image_shape = (height, width, channels)
        self.features = features
        self.num_levels = num_levels
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        height, width, channels = self.image_shape
        g = self.features
        options = {"num_levels": self.num_levels, "dtype": self.dtype_policy}
        full = (None, height, width)
        half = (None, height // 2, width // 2)

        self.begin_conv = Convolution(g, name="begin_conv", dtype=self.dtype_policy)
        self.begin_conv.build((*full, channels))

        stages = [  # filters, dilation, whether the first block changes width or resolution; input
            (g, 1, False, (*full, g)),
            (2 * g, 1, True, (*full, g)),
            (2 * g, 2, True, (*half, 2 * g)),
            (2 * g, 4, True, (*half, 2 * g)),
        ]
        blocks = []
        for number, (filters, dilation, first, shape) in enumerate(stages, 1):
            after = (*(full if number == 1 else half), filters)
            for index, (is_first, block_shape) in enumerate([(first, shape), (False, after)]):
                block = ResidualBlock(
                    filters,
                    dilation=dilation,
                    first=is_first,
                    name=f"res{number}_{index}",
                    **options,
                )
                block.build(block_shape)
                blocks.append(block)

        self.blocks = tuple(blocks)

        refinements = [
            (2 * g, [(*half, 2 * g)]),
            (2 * g, [(*half, 2 * g), (*half, 2 * g)]),
            (g, [(*half, 2 * g), (*half, 2 * g)]),
            (g, [(*full, g), (*half, g)]),
        ]
        self.refinements = tuple(
            RefineBlock(filters, last=number == 4, name=f"refine{number}", **options)
            for number, (filters, _) in enumerate(refinements, 1)
        )
        for block, (_, shapes) in zip(self.refinements, refinements, strict=True):
            block.build(shapes)

        self.end_conv = PreactivatedConvolution(channels, name="end_conv", **options)
        self.end_conv.build((*full, g))
        self.built = True

    def call(self, x, labels):
        h = self.begin_conv(2.0 * tf.cast(x, self.compute_dtype) - 1.0)
        layers = []
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            h = second(first(h, labels), labels)
            layers.append(h)
        refined = self.refinements[0]([layers[3]], labels)
        for refine, layer in zip(self.refinements[1:], layers[2::-1], strict=True):
            refined = refine([layer, refined], labels)
        return tf.cast(self.end_conv(refined, labels), tf.float32)

    def get_config(self):
        return {
            **super().get_config(),
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "image_shape": self.image_shape,
            "features": self.features,
            "num_levels": self.num_levels,
        }
