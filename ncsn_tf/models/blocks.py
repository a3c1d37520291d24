"""The blocks of a noise-conditional RefineNet on its way down: residual blocks.

Both generations of networks are made of these and of the blocks in `refinement`. They differ in
`normalization` (what stands before a convolution) and in the pooling of the refine blocks:

    normalization      parameters of instance normalisation++          where
    "conditional"      (gamma, alpha, beta) for each noise level       all blocks of NCSN
    "unconditional"    one (gamma, alpha, beta) for all levels         residual blocks of NCSNv2
    "none"             no normalisation                                refine blocks of NCSNv2
"""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from ncsn_tf.models import functional
from ncsn_tf.models.instance_norm_layers import ConditionalInstanceNormPlus, InstanceNormPlus
from ncsn_tf.models.layers import Convolution

NORMALIZATIONS = ("conditional", "unconditional", "none")


class Block(keras.layers.Layer):
    """A layer that knows how it normalises and passes its dtype policy on.

    Args:
        filters: channels of the result.
        num_levels: noise levels L, the rows of a conditional normalisation.
        normalization: one of `NORMALIZATIONS`.
        num_classes: classes of images, which normalisations know too; 0 for none. What has classes
            is called with the labels, [B], after the levels.

    Raises:
        ValueError: another normalization.

    Example:
        >>> block = Block(filters=4, num_levels=10)
        >>> block.norm_named("norm").num_levels, block.convolution_named("conv").filters
        (10, 4)
    """

    def __init__(
        self,
        filters: int,
        num_levels: int,
        normalization: str = "conditional",
        num_classes: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"normalization must be one of {NORMALIZATIONS}, not {normalization!r}"
            )
        self.filters = filters
        self.num_levels = num_levels
        self.normalization = normalization
        self.num_classes = num_classes

    @property
    def options(self) -> dict[str, Any]:
        """What a block tells the blocks it is made of."""
        return {
            "num_levels": self.num_levels,
            "normalization": self.normalization,
            "num_classes": self.num_classes,
            "dtype": self.dtype_policy,
        }

    def norm_named(self, name: str) -> ConditionalInstanceNormPlus | None:
        """The normalisation before a convolution; None without one."""
        if self.normalization == "none":
            return None
        options = {"num_classes": self.num_classes, "name": name, "dtype": self.dtype_policy}
        if self.normalization == "unconditional":
            return InstanceNormPlus(**options)
        return ConditionalInstanceNormPlus(self.num_levels, **options)

    def norms_named(self, names: Iterable[str]) -> tuple[ConditionalInstanceNormPlus, ...]:
        """A group of normalisations, for a `LayerTuple`; empty without normalisation."""
        return tuple(norm for norm in map(self.norm_named, names) if norm is not None)

    def convolution_named(self, name: str, **kwargs: Any) -> Convolution:
        """A convolution with the block's filters; keywords are those of `Convolution`."""
        return Convolution(self.filters, name=name, dtype=self.dtype_policy, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_levels": self.num_levels,
            "normalization": self.normalization,
            "num_classes": self.num_classes,
        }


@keras.saving.register_keras_serializable("ncsn_tf")
class PreactivatedConvolution(Block):
    """Instance normalisation++, if any -> ELU -> 3 x 3 convolution -> 2 x 2 mean pool if `pool`.

    Args:
        filters, num_levels, normalization, num_classes: see `Block`.
        dilation, use_bias, pool: see `Convolution`.

    Shapes: [B, H, W, C], levels [B] -> [B, H, W, filters], or half the height and width with
    `pool`.

    Example:
        >>> layer = PreactivatedConvolution(filters=4, num_levels=10, pool=True)
        >>> tuple(layer(tf.ones([2, 8, 8, 3]), tf.constant([0, 9])).shape)
        (2, 4, 4, 4)
    """

    def __init__(
        self,
        filters: int,
        num_levels: int,
        dilation: int = 1,
        use_bias: bool = True,
        pool: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, num_levels, **kwargs)
        self.dilation = dilation
        self.use_bias = use_bias
        self.pool = pool
        self.norm = self.norm_named("norm")
        self.conv = self.convolution_named("conv", dilation=dilation, use_bias=use_bias, pool=pool)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.norm is not None:
            self.norm.build(input_shape)
        self.conv.build(input_shape)
        self.built = True

    def call(self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        if self.norm is not None:
            x = self.norm(x, levels, labels)
        return self.conv(tf.nn.elu(x))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dilation": self.dilation,
            "use_bias": self.use_bias,
            "pool": self.pool,
        }


@keras.saving.register_keras_serializable("ncsn_tf")
class ResidualBlock(Block):
    """Two pre-activated convolutions and a shortcut.

    The first block of a stage changes the width: its first convolution keeps the input's channels,
    its shortcut is a convolution, and without dilation both paths end in a 2 x 2 mean pool. Any
    other block keeps the width and has the identity as shortcut. (Pooling and a 1 x 1 convolution
    commute: the shortcut pools first, a quarter of the work. The other path pools within its second
    convolution.)

    Args:
        filters: channels of the result; those of the input too unless `first`.
        num_levels, normalization, num_classes: see `Block`.
        dilation: of the 3 x 3 convolutions.
        first: whether this is the first block of a stage that changes width or resolution.

    Shapes: [B, H, W, C], levels [B] -> [B, H, W, filters], or half the height and width (see
    above).

    Raises:
        ValueError: when it is built, other channels than `filters` unless `first`.

    Example:
        >>> block = ResidualBlock(filters=4, num_levels=10, first=True)
        >>> tuple(block(tf.ones([2, 8, 8, 3]), tf.constant([0, 9])).shape)
        (2, 4, 4, 4)
    """

    def __init__(
        self, filters: int, num_levels: int, dilation: int = 1, first: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(filters, num_levels, **kwargs)
        self.dilation = dilation
        self.first = first
        self.pools = first and dilation == 1

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if not self.first and channels != self.filters:
            raise ValueError(
                f"a residual block of {self.filters} filters with the identity as shortcut got "
                f"{channels} channels"
            )
        options = {**self.options, "dilation": self.dilation}
        self.stage1 = PreactivatedConvolution(channels, name="stage1", **options)
        self.stage2 = PreactivatedConvolution(
            self.filters, pool=self.pools, name="stage2", **options
        )
        self.stage1.build(input_shape)
        self.stage2.build(input_shape)
        self.shortcut = None
        if self.first:
            self.shortcut = self.convolution_named(
                "shortcut", size=1 if self.pools else 3, dilation=self.dilation
            )
            self.shortcut.build(input_shape)
        self.built = True

    def call(self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        h = self.stage2(self.stage1(x, levels, labels), levels, labels)
        if self.pools:
            x = functional.mean_pool(x)
        if self.shortcut is not None:
            x = functional.barrier(self.shortcut(x))
        return functional.barrier(h) + x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dilation": self.dilation, "first": self.first}
