"""The dilated RefineNet of the first two generations: its stages by depth, and how they connect."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ncsn_tf.models.blocks import PreactivatedConvolution, ResidualBlock
from ncsn_tf.models.class_labels import check_num_classes, labels_or_none_given
from ncsn_tf.models.layers import Convolution, LayerTuple
from ncsn_tf.models.refinement import RefineBlock


class Stage(NamedTuple):
    """Two residual blocks of one width and resolution.

    Attributes:
        number: of the stage in the released code, which also names its refine block's weights.
        width: channels, in units of the first stage's.
        dilation: of the 3 x 3 convolutions; a later stage without dilation halves the resolution.
        refine: number of the refine block that brings the stage's features back in.

    Example:
        >>> [stage.width for stage in STAGES["deeper"]]
        [1, 2, 2, 4, 4]
    """

    number: int
    width: int
    dilation: int
    refine: int


_BASE = (Stage(1, 1, 1, 4), Stage(2, 2, 1, 3), Stage(3, 2, 2, 2), Stage(4, 2, 4, 1))
_DEEPER = (
    *(Stage(1, 1, 1, 5), Stage(2, 2, 1, 4), Stage(3, 2, 1, 3)),
    *(Stage(4, 4, 2, 2), Stage(5, 4, 4, 1)),
)
_DEEPEST = (*_DEEPER[:3], Stage(31, 2, 1, 31), *_DEEPER[3:])
STAGES = {"base": _BASE, "deeper": _DEEPER, "deepest": _DEEPEST}


def size_multiple(depth: str) -> int:
    """What the height and width of images must be multiples of, for the halvings of a depth.

    Example:
        >>> size_multiple("base"), size_multiple("deepest")
        (2, 8)
    """
    return 2 ** sum(stage.dilation == 1 for stage in STAGES[depth][1:])


class RefineNet(keras.Model):
    """What the first two generations share: residual stages down, refine blocks back up, ELU
    throughout.

    A layer has the name of its counterpart in the released code: `res31_0`, `refine31`. A
    refine block narrows to the width of the next stage above its own. The network is complete after
    construction: restoring a checkpoint needs no call first.
    """

    # Class attributes: Keras would put what is set on an instance into its checkpoints.
    RESIDUAL_NORMALIZATION = REFINE_NORMALIZATION = "conditional"
    POOL_KIND = "mean"
    blocks = LayerTuple()
    refinements = LayerTuple()

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        features: int,
        num_levels: int,
        depth: str,
        recompute: bool = False,
        num_classes: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.recompute = recompute
        self.num_classes = num_classes
        if depth not in STAGES:
            raise ValueError(f"depth must be one of {', '.join(STAGES)}, not {depth!r}")
        height, width, channels = image_shape
        multiple = size_multiple(depth)
        if height % multiple or width % multiple or min(height, width) < 2 * multiple:
            sizes = "even" if multiple == 2 else f"multiples of {multiple}"
            raise ValueError(
                f"image height and width must be {sizes} and at least {2 * multiple}, "
                f"not {height} x {width}"
            )
        if features < 2 or num_levels < 1 or channels < 1:
            raise ValueError(
                "features must be at least 2, num_levels and channels at least 1, "
                f"not {features}, {num_levels}, {channels}"
            )
        check_num_classes(num_classes)
        self.image_shape = (height, width, channels)
        self.features = features
        self.num_levels = num_levels
        self.depth = depth
        self.build((None, *self.image_shape))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        height, width, channels = self.image_shape
        options = {
            "num_levels": self.num_levels,
            "num_classes": self.num_classes,
            "dtype": self.dtype_policy,
        }
        stages = STAGES[self.depth]

        shape = (None, height, width, self.features)
        self.begin_conv = Convolution(self.features, name="begin_conv", dtype=self.dtype_policy)
        self.begin_conv.build((None, height, width, channels))

        blocks, shapes = [], []
        for stage in stages:
            filters = stage.width * self.features
            for index in (0, 1):
                block = ResidualBlock(
                    filters,
                    dilation=stage.dilation,
                    first=index == 0 and stage.number > 1,
                    normalization=self.RESIDUAL_NORMALIZATION,
                    name=f"res{stage.number}_{index}",
                    **options,
                )
                block.build(shape)
                blocks.append(block)
                factor = 2 if block.pools else 1
                shape = (None, shape[1] // factor, shape[2] // factor, filters)
            shapes.append(shape)
        self.blocks = tuple(blocks)

        refinements, refined = [], None
        for place in reversed(range(len(shapes))):
            block = RefineBlock(
                shapes[max(place - 1, 0)][-1],
                last=place == 0,
                pool_kind=self.POOL_KIND,
                normalization=self.REFINE_NORMALIZATION,
                name=f"refine{stages[place].refine}",
                **options,
            )
            block.build([shapes[place]] if refined is None else [shapes[place], refined])
            refinements.append(block)
            refined = (*shapes[place][:-1], block.filters)
        self.refinements = tuple(refinements)

        self.end_conv = PreactivatedConvolution(
            channels, normalization=self.RESIDUAL_NORMALIZATION, name="end_conv", **options
        )
        self.end_conv.build(refined)
        self.built = True

    def stages(
        self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None
    ) -> list[tf.Tensor]:
        """What the residual stages answer, the deepest last: a list of [B, h, w, f].

        Arguments are those of the network's call.

        Example:
            >>> from ncsn_tf import NCSN
            >>> network = NCSN(image_shape=(8, 8, 1), features=2, num_levels=3)
            >>> stages = network.stages(tf.zeros([1, 8, 8, 1]), tf.constant([0]))
            >>> [tuple(stage.shape[1:]) for stage in stages]
            [(8, 8, 2), (4, 4, 4), (4, 4, 4), (4, 4, 4)]
        """
        labels = labels_or_none_given(self.num_classes, labels, levels)
        h = self.begin_conv(2.0 * tf.cast(x, self.compute_dtype) - 1.0)
        layers = []
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            for block in (first, second):
                h = self._run(lambda h, block=block: block(h, levels, labels), h)
            layers.append(h)
        return layers

    def call(self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        labels = labels_or_none_given(self.num_classes, labels, levels)
        refined, layers = [], reversed(self.stages(x, levels, labels))
        for refine, layer in zip(self.refinements, layers, strict=True):
            refined = [
                self._run(
                    lambda *inputs, refine=refine: refine(list(inputs), levels, labels),
                    *(layer, *refined),
                )
            ]
        (refined,) = refined
        return tf.cast(self.end_conv(refined, levels, labels), tf.float32)

    def _run(self, block, *inputs):
        """block(*inputs); with `recompute` only the inputs are kept for the backward pass."""
        return tf.recompute_grad(block)(*inputs) if self.recompute else block(*inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "image_shape": self.image_shape,
            "features": self.features,
            "recompute": self.recompute,
            "num_classes": self.num_classes,
        }
