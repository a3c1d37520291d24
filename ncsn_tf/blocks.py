"""The blocks of a conditional RefineNet: residual blocks and the refinement of resolutions."""

import keras
import tensorflow as tf

from ncsn_tf import functional
from ncsn_tf.layers import ConditionalInstanceNormPlus, Convolution, LayerTuple


class _Block(keras.layers.Layer):
    """A layer that knows the number of noise levels and passes its dtype policy on."""

    def __init__(self, filters, num_levels, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.num_levels = num_levels

    def _norm(self, name):
        return ConditionalInstanceNormPlus(self.num_levels, name=name, dtype=self.dtype_policy)

    def _convolution(self, name, **kwargs):
        return Convolution(self.filters, name=name, dtype=self.dtype_policy, **kwargs)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "num_levels": self.num_levels}


@keras.saving.register_keras_serializable("ncsn_tf")
class PreactivatedConvolution(_Block):
    """Instance normalisation++ -> ELU -> 3 x 3 convolution.

    Shapes: [B, H, W, C], labels [B] -> [B, H, W, filters].
    """

    def __init__(self, filters, num_levels, dilation=1, use_bias=True, **kwargs):
        super().__init__(filters, num_levels, **kwargs)
        self.dilation = dilation
        self.use_bias = use_bias
        self.norm = self._norm("norm")
        self.conv = self._convolution("conv", dilation=dilation, use_bias=use_bias)

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.conv.build(input_shape)
        self.built = True

    def call(self, x, labels):
        return self.conv(tf.nn.elu(self.norm(x, labels)))

    def get_config(self):
        return {**super().get_config(), "dilation": self.dilation, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable("ncsn_tf")
class ResidualBlock(_Block):
    """Two pre-activated convolutions and a shortcut.

    The first block of a stage changes the width: its first convolution keeps the input's channels,
    its shortcut is a convolution, and without dilation both paths end in a 2 x 2 mean pool. Any
    other block keeps the width and has the identity as shortcut. (Pooling and a 1 x 1 convolution
    commute: the shortcut pools first, a quarter of the work.)

    Args:
        filters: channels of the result; those of the input too unless `first`.
        num_levels: noise levels L.
        dilation: of the 3 x 3 convolutions.
        first: whether this is the first block of a stage that changes width or resolution.

    Shapes: [B, H, W, C], labels [B] -> [B, H, W, filters], or half the height and width (see
    above).
    """

    def __init__(self, filters, num_levels, dilation=1, first=False, **kwargs):
        super().__init__(filters, num_levels, **kwargs)
        self.dilation = dilation
        self.first = first
        self.pools = first and dilation == 1

    def build(self, input_shape):
        channels = input_shape[-1]
        if not self.first and channels != self.filters:
            raise ValueError(
                f"a residual block of {self.filters} filters with the identity as shortcut got "
                f"{channels} channels"
            )
        options = {
            "num_levels": self.num_levels,
            "dilation": self.dilation,
            "dtype": self.dtype_policy,
        }
        self.stage1 = PreactivatedConvolution(channels, name="stage1", **options)
        self.stage2 = PreactivatedConvolution(self.filters, name="stage2", **options)
        self.stage1.build(input_shape)
        self.stage2.build(input_shape)
        self.shortcut = None
        if self.first:
            self.shortcut = self._convolution(
                "shortcut", size=1 if self.pools else 3, dilation=self.dilation
            )
            self.shortcut.build(input_shape)
        self.built = True

    def call(self, x, labels):
        h = self.stage2(self.stage1(x, labels), labels)
        if self.pools:
            h, x = functional.mean_pool(h), functional.mean_pool(x)
        return h + (x if self.shortcut is None else self.shortcut(x))

    def get_config(self):
        return {**super().get_config(), "dilation": self.dilation, "first": self.first}


@keras.saving.register_keras_serializable("ncsn_tf")
class ResidualConvolutionUnits(_Block):
    """`num_units` times: x + two bias-free pre-activated convolutions of x. Keeps the shape."""

    stages = LayerTuple()

    def __init__(self, filters, num_levels, num_units, **kwargs):
        super().__init__(filters, num_levels, **kwargs)
        self.num_units = num_units
        self.stages = tuple(
            PreactivatedConvolution(
                filters,
                num_levels,
                use_bias=False,
                name=f"unit{unit}_stage{stage}",
                dtype=self.dtype_policy,
            )
            for unit in range(1, num_units + 1)
            for stage in (1, 2)
        )

    def build(self, input_shape):
        for stage in self.stages:
            stage.build(input_shape)
        self.built = True

    def call(self, x, labels):
        for first, second in zip(self.stages[::2], self.stages[1::2], strict=True):
            x = x + second(first(x, labels), labels)
        return x

    def get_config(self):
        return {**super().get_config(), "num_units": self.num_units}


@keras.saving.register_keras_serializable("ncsn_tf")
class MultiResolutionFusion(_Block):
    """Sum over the inputs of normalisation -> 3 x 3 convolution -> bilinear resize to the first
    input's size.

    Shapes: list of [B, H_i, W_i, C_i], labels [B] -> [B, H_0, W_0, filters].
    """

    norms = LayerTuple()
    convs = LayerTuple()

    def build(self, input_shapes):
        self.norms = tuple(self._norm(f"norm{i}") for i in range(len(input_shapes)))
        self.convs = tuple(self._convolution(f"conv{i}") for i in range(len(input_shapes)))
        for norm, conv, shape in zip(self.norms, self.convs, input_shapes, strict=True):
            norm.build(shape)
            conv.build(shape)
        self.built = True

    def call(self, inputs, labels):
        height, width = inputs[0].shape[1:3]
        paths = [
            functional.resize_align_corners(conv(norm(x, labels)), height, width)
            for x, norm, conv in zip(inputs, self.norms, self.convs, strict=True)
        ]
        return tf.add_n(paths)


@keras.saving.register_keras_serializable("ncsn_tf")
class ChainedResidualPooling(_Block):
    """ELU(x) plus two chained paths of normalisation -> 5 x 5 mean -> convolution. Keeps shape."""

    NUM_STAGES = 2
    norms = LayerTuple()
    convs = LayerTuple()

    def __init__(self, filters, num_levels, **kwargs):
        super().__init__(filters, num_levels, **kwargs)
        indices = range(1, self.NUM_STAGES + 1)
        self.norms = tuple(self._norm(f"norm{i}") for i in indices)
        self.convs = tuple(self._convolution(f"conv{i}", use_bias=False) for i in indices)

    def build(self, input_shape):
        for layer in (*self.norms, *self.convs):
            layer.build(input_shape)
        self.built = True

    def call(self, x, labels):
        paths = [tf.nn.elu(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            paths.append(conv(functional.average_pool_5x5(norm(paths[-1], labels))))
        return tf.add_n(paths)


@keras.saving.register_keras_serializable("ncsn_tf")
class RefineBlock(_Block):
    """Fuses feature maps of several resolutions into one.

    Each input through two residual units; several inputs fused; chained residual pooling; then one
    residual unit, or three when `last`.

    Shapes: list of [B, H_i, W_i, C_i], labels [B] -> [B, H_0, W_0, filters].
    """

    adapters = LayerTuple()

    def __init__(self, filters, num_levels, last=False, **kwargs):
        super().__init__(filters, num_levels, **kwargs)
        self.last = last

    def build(self, input_shapes):
        options = {"num_levels": self.num_levels, "dtype": self.dtype_policy}
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
        self.pooling = ChainedResidualPooling(self.filters, name="pooling", **options)
        self.pooling.build(fused)
        self.output_units = ResidualConvolutionUnits(
            self.filters, num_units=3 if self.last else 1, name="output_units", **options
        )
        self.output_units.build(fused)
        self.built = True

    def call(self, inputs, labels):
        adapted = [adapter(x, labels) for adapter, x in zip(self.adapters, inputs, strict=True)]
        fused = adapted[0] if self.fusion is None else self.fusion(adapted, labels)
        return self.output_units(self.pooling(fused, labels), labels)

    def get_config(self):
        return {**super().get_config(), "last": self.last}
