"""The blocks of a noise-conditional RefineNet on its way up: the refinement of resolutions."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ncsn_tf.models import functional
from ncsn_tf.models.blocks import Block, PreactivatedConvolution
from ncsn_tf.models.layers import LayerTuple

POOLS = {"mean": functional.average_pool_5x5, "max": functional.max_pool_5x5}


@keras.saving.register_keras_serializable("ncsn_tf")
class ResidualConvolutionUnits(Block):
    """`num_units` times: x + two bias-free pre-activated convolutions of x.

    Args:
        filters: channels of the input and of the result.
        num_levels, normalization, num_classes: see `blocks.Block`.
        num_units: residual units.

    Shapes: [B, H, W, filters], levels [B] -> [B, H, W, filters].

    Example:
        >>> units = ResidualConvolutionUnits(filters=4, num_levels=10, num_units=2)
        >>> tuple(units(tf.ones([2, 8, 8, 4]), tf.constant([0, 9])).shape)
        (2, 8, 8, 4)
    """

    stages = LayerTuple()

    def __init__(self, filters: int, num_levels: int, num_units: int, **kwargs: Any) -> None:
        super().__init__(filters, num_levels, **kwargs)
        self.num_units = num_units
        self.stages = tuple(
            PreactivatedConvolution(
                filters, use_bias=False, name=f"unit{unit}_stage{stage}", **self.options
            )
            for unit in range(1, num_units + 1)
            for stage in (1, 2)
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for stage in self.stages:
            stage.build(input_shape)
        self.built = True

    def call(self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        for first, second in zip(self.stages[::2], self.stages[1::2], strict=True):
            x = x + second(first(x, levels, labels), levels, labels)
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_units": self.num_units}


@keras.saving.register_keras_serializable("ncsn_tf")
class MultiResolutionFusion(Block):
    """Sum over the inputs of normalisation, if any -> 3 x 3 convolution -> bilinear resize to the
    first input's size.

    Args:
        filters, num_levels, normalization, num_classes: see `blocks.Block`.

    Shapes: list of [B, H_i, W_i, C_i], levels [B] -> [B, H_0, W_0, filters].

    Example:
        >>> fusion = MultiResolutionFusion(filters=4, num_levels=10)
        >>> inputs = [tf.ones([2, 8, 8, 2]), tf.ones([2, 4, 4, 4])]
        >>> tuple(fusion(inputs, tf.constant([0, 9])).shape)
        (2, 8, 8, 4)
    """

    norms = LayerTuple()
    convs = LayerTuple()

    def build(self, input_shapes: Sequence[tuple[int | None, ...]]) -> None:
        self.norms = self.norms_named(f"norm{i}" for i in range(len(input_shapes)))
        self.convs = tuple(self.convolution_named(f"conv{i}") for i in range(len(input_shapes)))
        for conv, norm, shape in itertools.zip_longest(self.convs, self.norms, input_shapes):
            if norm is not None:
                norm.build(shape)
            conv.build(shape)
        self.built = True

    def call(
        self, inputs: Sequence[tf.Tensor], levels: tf.Tensor, labels: tf.Tensor | None = None
    ) -> tf.Tensor:
        height, width = inputs[0].shape[1:3]
        if self.norms:
            inputs = [norm(x, levels, labels) for x, norm in zip(inputs, self.norms, strict=True)]
        paths = [
            functional.resize_align_corners(functional.barrier(conv(x)), height, width)
            for x, conv in zip(inputs, self.convs, strict=True)
        ]
        return tf.add_n(paths)


@keras.saving.register_keras_serializable("ncsn_tf")
class ChainedResidualPooling(Block):
    """ELU(x) plus two chained paths of normalisation, if any -> 5 x 5 pool -> convolution.

    Args:
        filters: channels of the input and of the result.
        num_levels, normalization, num_classes: see `blocks.Block`.
        pool_kind: "mean" or "max".

    Shapes: [B, H, W, filters], levels [B] -> [B, H, W, filters].

    Raises:
        ValueError: another kind of pooling.

    Example:
        >>> pooling = ChainedResidualPooling(filters=4, num_levels=10, pool_kind="max")
        >>> tuple(pooling(tf.ones([2, 8, 8, 4]), tf.constant([0, 9])).shape)
        (2, 8, 8, 4)
    """

    NUM_STAGES = 2
    norms = LayerTuple()
    convs = LayerTuple()

    def __init__(
        self, filters: int, num_levels: int, pool_kind: str = "mean", **kwargs: Any
    ) -> None:
        super().__init__(filters, num_levels, **kwargs)
        if pool_kind not in POOLS:
            raise ValueError(f"pool_kind must be one of {tuple(POOLS)}, not {pool_kind!r}")
        self.pool_kind = pool_kind
        indices = range(1, self.NUM_STAGES + 1)
        self.norms = self.norms_named(f"norm{i}" for i in indices)
        self.convs = tuple(self.convolution_named(f"conv{i}", use_bias=False) for i in indices)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in (*self.norms, *self.convs):
            layer.build(input_shape)
        self.built = True

    def call(self, x: tf.Tensor, levels: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        pool = POOLS[self.pool_kind]
        paths = [tf.nn.elu(x)]
        for conv, norm in itertools.zip_longest(self.convs, self.norms):
            path = paths[-1] if norm is None else norm(paths[-1], levels, labels)
            paths.append(conv(pool(path)))
        return tf.add_n(paths)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_kind": self.pool_kind}


@keras.saving.register_keras_serializable("ncsn_tf")
class RefineBlock(Block):
    """Fuses feature maps of several resolutions into one.

    Each input through two residual units; several inputs fused; chained residual pooling; then one
    residual unit, or three when `last`.

    Args:
        filters, num_levels, normalization, num_classes: see `blocks.Block`.
        last: whether it is the network's last refine block.
        pool_kind: of the chained pooling, "mean" or "max".

    Shapes: list of [B, H_i, W_i, C_i], levels [B] -> [B, H_0, W_0, filters].

    Example:
        >>> block = RefineBlock(filters=4, num_levels=10)
        >>> inputs = [tf.ones([2, 8, 8, 4]), tf.ones([2, 4, 4, 2])]
        >>> tuple(block(inputs, tf.constant([0, 9])).shape)
        (2, 8, 8, 4)
    """

    adapters = LayerTuple()

    def __init__(
        self,
        filters: int,
        num_levels: int,
        last: bool = False,
        pool_kind: str = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, num_levels, **kwargs)
        self.last = last
        self.pool_kind = pool_kind

    def build(self, input_shapes: Sequence[tuple[int | None, ...]]) -> None:
        options = self.options
        self.adapters = tuple(
            ResidualConvolutionUnits(shape[-1], num_units=2, name=f"adapter{i}", **options)
            for i, shape in enumerate(input_shapes)
        )
        for adapter, shape in zip(self.adapters, input_shapes, strict=True):
            adapter.build(shape)
        self.fusion = None
        if len(input_shapes) > 1:
            self.fusion = MultiResolutionFusion(self.filters, name="fusion", **options)
            self.fusion.build(input_shapes)
        fused = (*input_shapes[0][:-1], self.filters)
        self.pooling = ChainedResidualPooling(
            self.filters, pool_kind=self.pool_kind, name="pooling", **options
        )
        self.pooling.build(fused)
        self.output_units = ResidualConvolutionUnits(
            self.filters, num_units=3 if self.last else 1, name="output_units", **options
        )
        self.output_units.build(fused)
        self.built = True

    def call(
        self, inputs: Sequence[tf.Tensor], levels: tf.Tensor, labels: tf.Tensor | None = None
    ) -> tf.Tensor:
        if self.normalization == "none":
            inputs = [functional.barrier(x) for x in inputs]
        adapted = [
            adapter(x, levels, labels) for adapter, x in zip(self.adapters, inputs, strict=True)
        ]
        fused = adapted[0] if self.fusion is None else self.fusion(adapted, levels, labels)
        return self.output_units(self.pooling(fused, levels, labels), levels, labels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "last": self.last, "pool_kind": self.pool_kind}
