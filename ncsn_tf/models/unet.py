"""The U-Net of the third generation: it carries out a table of steps."""

import functools
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.models import functional
from ncsn_tf.models.attention import SelfAttention
from ncsn_tf.models.class_labels import ClassEmbedding, labels_or_none_given
from ncsn_tf.models.embeddings import ConditionEmbedding
from ncsn_tf.models.group_norm import ACTIVATIONS
from ncsn_tf.models.layers import Convolution
from ncsn_tf.models.resampling import Resampling, ResamplingConvolution, downsample, upsample
from ncsn_tf.models.resnet_blocks import Combination, NormedConvolution, ResNetBlock
from ncsn_tf.models.unet_steps import Step

DropoutNoise = Callable[[int, tuple], tf.Tensor]


class UNet(keras.Model):
    """A layer for each step of `unet_steps` that has one, and their work in order.

    The settings, and what is done with what shapes, are those of `NCSNpp`, which knows `steps` from
    them; it calls `build` when it has them all.
    """

    GROUPS = None  # of the normalisations; None for `group_norm.group_count`

    image_shape: tuple[int, int, int]
    features: int
    embedding: str
    block: str
    fir: bool
    fir_kernel: tuple[float, ...]
    progressive: str
    progressive_combine: str
    resamp_with_conv: bool
    skip_rescale: bool
    scale_by_sigma: bool
    sigmas: np.ndarray | None
    centered: bool
    conditional: bool
    activation: str
    dropout: float
    recompute: bool
    num_classes: int

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the network does, in order."""
        raise NotImplementedError

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
            >>> from ncsn_tf import NCSNpp
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
                    h = pyramid = functional.scaled_sum(layer(pyramid), h, self.gain)
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
