"""The third generation's network: NCSN++ and DDPM++, which differ by their settings alone."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.models import functional
from ncsn_tf.models.attention import SelfAttention
from ncsn_tf.models.class_labels import (
    ClassEmbedding,
    check_num_classes,
    labels_or_none_given,
)
from ncsn_tf.models.embeddings import EMBEDDINGS, ConditionEmbedding
from ncsn_tf.models.group_norm import ACTIVATIONS
from ncsn_tf.models.layers import Convolution
from ncsn_tf.models.resampling import (
    FIR_KERNEL,
    Resampling,
    ResamplingConvolution,
    downsample,
    upsample,
)
from ncsn_tf.models.resnet_blocks import Combination, NormedConvolution, ResNetBlock
from ncsn_tf.models.unet_steps import Step, unet_steps

DropoutNoise = Callable[[int, tuple], tf.Tensor]
CHOICES = {
    "embedding": EMBEDDINGS,
    "block": ("biggan", "ddpm"),
    "progressive_input": ("none", "input_skip", "residual"),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "activation": ("swish", "elu", "relu", "lrelu"),
}


@keras.saving.register_keras_serializable("ncsn_tf")
class NCSNpp(keras.Model):
    """The U-Net of NCSN++ and DDPM++, told the noise by an embedding of a condition.

    What it does, step by step, is the table `unet_steps`; a layer is named by its action and by the
    number of its counterpart in the released code: `block4` is `all_modules.4`. The defaults are
    those of NCSN++ on CIFAR-10 but for its progressive_input="residual"; DDPM++ has
    embedding="positional", fir=False, scale_by_sigma=False, centered=True. The network is complete
    after construction: restoring a checkpoint needs no call first.

    Args:
        image_shape: (height, width, channels), height and width multiples of 2^(levels - 1).
        features: channels F of the first level.
        multipliers: channels of each level, in units of F; each level has half the size of the one
            before.
        num_res_blocks: residual blocks a level, and one more on the way up.
        attention_sizes: widths of images that get attention; the smallest always has it.
        embedding: "fourier" (of sigma) or "positional" (of a label, or of 999 t).
        block: what resamples: a residual block ("biggan") or a layer of its own ("ddpm").
        fir: whether a filter takes part in resampling; without it a 2 x 2 mean, or pixels repeated.
        fir_kernel: the filter's taps.
        progressive_input: "input_skip" adds smaller copies of the image to the features,
            "residual" a pyramid of convolutions.
        progressive: "output_skip" sums images of all sizes into the result, "residual" is a pyramid
            of convolutions.
        progressive_combine: for "input_skip": "sum", or "cat" for more channels.
        resamp_with_conv: whether the layers of block="ddpm" that resample are convolutions.
        skip_rescale: whether sums in blocks and pyramids are divided by sqrt(2).
        scale_by_sigma: whether the result is divided by sigma.
        sigmas: [N], from the largest on: sigma of each label, where a positional embedding and
            scale_by_sigma need it.
        centered: whether images are given in [-1, 1]; otherwise they are in [0, 1], and rescaled.
        conditional: whether the blocks know the condition.
        activation: one of "swish", "elu", "relu" and "lrelu".
        dropout: rate within each block, when training.
        recompute: keep only the blocks' inputs for the backward pass, which runs every block again:
            less memory, a third more work.
        num_classes: classes of images K, with an embedding that is added to the condition's; 0 for
            a network that knows none.

    Shapes: x float [B, height, width, channels], condition [B], labels int32 [B] in [0, K], where
    K and no labels at all mean "no label" -> float32, of x's shape. The condition is sigma for a
    Fourier embedding; else a step's number, or 999 t, which need not be whole.
    `training` switches dropout on. Its noise is of TensorFlow's global generator, or that of
    `dropout_noise`: a function of the number of a block and a shape, which answers with numbers
    uniform in [0, 1) and, called again with the same arguments, with the same.

    Raises:
        ValueError: on settings that the network cannot have.

    Source: Song et al. 2021 (arXiv:2011.13456), section 4.2 and appendix H; details of the released
    code.

    Example:
        >>> network = NCSNpp((8, 8, 1), features=4, multipliers=(1, 2), num_res_blocks=1)
        >>> y = network(tf.zeros([2, 8, 8, 1]), tf.constant([50.0, 0.01]))
        >>> tuple(y.shape)
        (2, 8, 8, 1)
    """

    GROUPS = None  # of the normalisations; None for `group_norm.group_count`

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        features: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 4,
        attention_sizes: Sequence[int] = (16,),
        *,
        embedding: str = "fourier",
        block: str = "biggan",
        fir: bool = True,
        fir_kernel: Sequence[float] = FIR_KERNEL,
        progressive_input: str = "none",
        progressive: str = "none",
        progressive_combine: str = "sum",
        resamp_with_conv: bool = True,
        skip_rescale: bool = True,
        scale_by_sigma: bool = True,
        sigmas: Sequence[float] | np.ndarray | tf.Tensor | None = None,
        centered: bool = False,
        conditional: bool = True,
        activation: str = "swish",
        dropout: float = 0.0,
        recompute: bool = False,
        num_classes: int = 0,
        **kwargs: Any,
    ) -> None:
        # A condition may be 347.9: it is not rounded to the type that convolutions compute in.
        super().__init__(autocast=False, **kwargs)
        self.image_shape = tuple(image_shape)
        self.features = features
        self.multipliers = tuple(multipliers)
        self.num_res_blocks = num_res_blocks
        self.attention_sizes = tuple(attention_sizes)
        self.embedding = embedding
        self.block = block
        self.fir = fir
        self.fir_kernel = tuple(fir_kernel)
        self.progressive_input = progressive_input
        self.progressive = progressive
        self.progressive_combine = progressive_combine
        self.resamp_with_conv = resamp_with_conv
        self.skip_rescale = skip_rescale
        self.scale_by_sigma = scale_by_sigma
        self.sigmas = None if sigmas is None else np.asarray(sigmas, np.float32)
        self.centered = centered
        self.conditional = conditional
        self.activation = activation
        self.dropout = dropout
        self.recompute = recompute
        self.num_classes = num_classes
        self._check()
        self.build((None, *self.image_shape))

    def _check(self):
        """Raise a ValueError for settings that do not fit together."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        height, width, channels = self.image_shape
        multiple = 2 ** (len(self.multipliers) - 1)
        if min(height, width) < multiple or height % multiple or width % multiple:
            raise ValueError(
                f"image height and width must be multiples of {multiple} for "
                f"{len(self.multipliers)} levels, not {height} x {width}"
            )
        if min(self.features, channels, self.num_res_blocks, *self.multipliers) < 1:
            raise ValueError("features, channels, multipliers and num_res_blocks must be positive")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")
        if self.scale_by_sigma and self.embedding == "positional" and self.sigmas is None:
            raise ValueError("scale_by_sigma with a positional embedding needs sigmas")
        if self.sigmas is not None and (self.sigmas.ndim != 1 or not np.all(self.sigmas > 0)):
            raise ValueError("sigmas must be a vector of positive noise levels")
        check_num_classes(self.num_classes)
        if self.num_classes and not self.conditional:
            raise ValueError("a network of classes needs conditional=True")

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the network does, in order."""
        embedding_modules = (self.embedding == "fourier") + 2 * self.conditional
        return unet_steps(
            self.image_shape[1],
            self.image_shape[2],
            self.features,
            tuple(self.multipliers),
            self.num_res_blocks,
            tuple(self.attention_sizes),
            self.block,
            self.progressive_input,
            self.progressive,
            self.progressive_combine,
            embedding_modules,
        )

    @property
    def gain(self) -> float:
        """Of sums in blocks and pyramids."""
        return math.sqrt(0.5) if self.skip_rescale else 1.0

    @property
    def taps(self) -> tuple[float, ...] | None:
        """The filter that resamples; None without one."""
        return self.fir_kernel if self.fir else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = pyramid = self.image_shape[2]  # channels
        for step in self.steps:
            if step.has_layer:
                layer = self._layer(step)
                channels = pyramid if step.action in ("take", "merge", "grow") else features
                layer.build((None, None, None, channels))
                setattr(self, step.name, layer)
            if step.action in ("merge", "begin", "grow"):
                pyramid = step.filters
            if step.action not in ("embed", "begin", "draw", "finish"):
                features = step.filters
        if self.num_classes:
            self.classes0 = ClassEmbedding(self.num_classes, 4 * self.features, name="classes0")
            self.classes0.build()
        self.built = True

    def _layer(self, step):
        """The layer of a step."""
        named = {"name": step.name, "dtype": self.dtype_policy}
        ends = {"activation": self.activation, "groups": self.GROUPS, **named}
        match step.action:
            case "embed":
                return ConditionEmbedding(
                    self.features, self.embedding, self.conditional, self.activation, name="embed0"
                )
            case "convolve":
                return Convolution(step.filters, scale=1.0, **named)
            case "block":
                return ResNetBlock(
                    step.filters,
                    embedding=4 * self.features if self.conditional else 0,
                    resample=step.resample,
                    fir=self.taps,
                    gain=self.gain,
                    shortcut_scale=1.0 if self.block == "biggan" else 0.1,
                    **ends,
                )
            case "attend":
                return SelfAttention(self.gain, self.GROUPS, **named)
            case "resample" if not self.resamp_with_conv:
                return Resampling(step.resample, self.taps, **named)
            case "resample":
                return ResamplingConvolution(
                    step.filters, step.resample, self.taps, scale=1.0, **named
                )
            case "merge" | "grow":
                direction = "down" if step.action == "merge" else "up"
                return ResamplingConvolution(step.filters, direction, self.taps, scale=1.0, **named)
            case "take":
                filters = step.filters // (2 if self.progressive_combine == "cat" else 1)
                return Combination(filters, self.progressive_combine, **named)
            case "begin" | "draw" | "finish":
                draws = step.action != "begin" or self.progressive == "output_skip"
                return NormedConvolution(step.filters, scale=0.0 if draws else 1.0, **ends)

    def call(
        self,
        x: tf.Tensor,
        condition: tf.Tensor,
        labels: tf.Tensor | None = None,
        training: bool | None = None,
        dropout_noise: DropoutNoise | None = None,
    ) -> tf.Tensor:
        noise = self._dropout_noise(dropout_noise) if training and self.dropout else None
        h, pyramid = self._walk(self.steps, x, condition, labels, noise)
        h = tf.cast(pyramid if self.progressive == "output_skip" else h, tf.float32)
        if self.scale_by_sigma:
            h = h / tf.reshape(self._sigma(condition), [-1, 1, 1, 1])
        return h

    def deepest(
        self, x: tf.Tensor, condition: tf.Tensor, labels: tf.Tensor | None = None
    ) -> tf.Tensor:
        """What the smallest blocks answer, half-way through: [B, h, w, f].

        Arguments are those of the network's call.

        Example:
            >>> network = NCSNpp((8, 8, 1), 4, (1, 2), num_res_blocks=1)
            >>> tuple(network.deepest(tf.zeros([1, 8, 8, 1]), tf.constant([0.1])).shape)
            (1, 4, 4, 8)
        """
        first = next(i for i, step in enumerate(self.steps) if step.action == "join")
        return self._walk(self.steps[:first], x, condition, labels)[0]

    def _walk(self, steps, x, condition, labels, noise=None):
        """(h, pyramid) after these steps."""
        labels = labels_or_none_given(self.num_classes, labels, condition)
        vector = None
        if self.conditional:
            vector = self.embed0(condition)
            if labels is not None:
                vector = vector + self.classes0(labels)
            vector = ACTIVATIONS[self.activation].value(vector)  # [B, 4 F]
        h = tf.cast(x, self.compute_dtype)
        h = pyramid = h if self.centered else 2.0 * h - 1.0
        stack = []
        for step in steps:
            layer = getattr(self, step.name) if step.has_layer else None
            match step.action:
                case "embed":
                    pass
                case "keep":
                    stack.append(h)
                case "join":
                    h = tf.concat([h, stack.pop()], -1)
                case "block":
                    h = self._run(layer, h, vector, noise and functools.partial(noise, step.index))
                case "take":
                    pyramid = downsample(pyramid, self.taps)
                    h = layer(pyramid, h)
                case "merge" | "grow":
                    pyramid = functional.barrier(layer(pyramid, gain=self.gain)) + h * self.gain
                    h = pyramid
                case "begin":
                    pyramid = layer(h)
                case "draw":
                    pyramid = upsample(pyramid, self.taps) + functional.barrier(layer(h))
                case _:
                    h = layer(h)
        return h, pyramid

    def _run(self, block, h, vector, noise):
        """block(h, vector); with `recompute` only these are kept for the backward pass."""

        def run(h, *vectors):
            return block(h, *vectors, dropout=noise and functools.partial(self._drop, noise))

        inputs = [h] if vector is None else [h, vector]
        return tf.recompute_grad(run)(*inputs) if self.recompute else run(*inputs)

    def _drop(self, noise, h):
        """h with a share of its numbers set to 0, and the others larger by as much."""
        kept = noise((tf.shape(h)[0], *h.shape[1:])) >= self.dropout
        return h * (tf.cast(kept, h.dtype) / (1.0 - self.dropout))

    def _dropout_noise(self, given):
        """A function of a block's number and a shape, the same at every call."""
        if given is not None:
            return given
        seed = tf.random.uniform([], maxval=tf.int32.max, dtype=tf.int32)
        return lambda index, shape: tf.random.stateless_uniform(shape, [seed, index])

    def _sigma(self, condition):
        if self.embedding == "fourier":
            return tf.cast(condition, tf.float32)
        return tf.gather(tf.constant(self.sigmas), tf.cast(condition, tf.int32))

    def get_config(self) -> dict[str, Any]:
        names = list(inspect.signature(type(self).__init__).parameters)[1:-1]  # not self, kwargs
        config = {name: getattr(self, name) for name in names}
        if config["sigmas"] is not None:
            config["sigmas"] = self.sigmas.tolist()
        return {
            **super().get_config(),
            "name": self.name,
            "dtype": self.dtype_policy.name,
            **config,
        }
