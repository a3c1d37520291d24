"""Group normalisation and the activation behind it, as one function with its own gradient."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ncsn_tf.backend.compat import KEEP_FLOAT32, custom_gradient, for_xla
from ncsn_tf.models.functional import barrier

EPSILON = 1e-6
_PIXELS = (1, 2)  # axes of an image


class Activation(NamedTuple):
    """An activation and its slope.

    Attributes:
        value: u -> y.
        slope: (u, upstream) -> upstream * dy/du.
    """

    value: Callable[[tf.Tensor], tf.Tensor]
    slope: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def _swish(u):
    return u * tf.sigmoid(u)


def _swish_slope(u, upstream):
    gate = tf.sigmoid(u)
    # upstream (s + u s (1 - s)); the second summand is one pass of TensorFlow's.
    return upstream * (gate + tf.raw_ops.SigmoidGrad(y=gate, dy=u))


def _elu_slope(u, upstream):
    return tf.raw_ops.EluGrad(gradients=upstream, outputs=tf.nn.elu(u))


ACTIVATIONS = {
    "swish": Activation(_swish, _swish_slope),
    "elu": Activation(tf.nn.elu, _elu_slope),
    "relu": Activation(tf.nn.relu, lambda u, upstream: tf.where(u > 0, upstream, 0.0)),
    "lrelu": Activation(
        lambda u: tf.nn.leaky_relu(u, 0.2),
        lambda u, upstream: tf.where(u > 0, upstream, 0.2 * upstream),
    ),
    "none": Activation(lambda u: u, lambda u, upstream: upstream),
}


def group_norm(
    x: tf.Tensor,
    table: tf.Tensor,
    groups: int,
    shift: tf.Tensor | None = None,
    activation: str = "none",
) -> tf.Tensor:
    """Group normalisation of x + shift, and an activation.

        y_k = a(gamma_k (x_k + shift_k - m_g) / sqrt(v_g + eps) + beta_k)

    m_g and v_g: mean and (biased) variance of x + shift over the pixels and the channels of k's
    group, the g-th run of C / groups channels. The sum x + shift is never written to memory. The
    statistics and the parameters are float32 whatever the type of x. The backward pass is written
    out: it keeps x alone. Differentiable twice.

    Args:
        x: float [B, H, W, C].
        table: float32 [2, C], the rows gamma and beta.
        groups: number of groups; C is a multiple of it.
        shift: float32 [B, C], added to every pixel; None for nothing.
        activation: one of `ACTIVATIONS`.

    Returns:
        y, of x's shape and type.

    Source: Wu & He 2018 (arXiv:1803.08494), with the released code's eps of 1e-6.

    Example:
        >>> x = tf.reshape(tf.range(8.0), [1, 2, 2, 2])
        >>> y = group_norm(x, tf.constant([[1.0, 1.0], [5.0, -5.0]]), groups=2)
        >>> print(y[0, 0].numpy().round(2))
        [[ 3.66 -6.34]
         [ 4.55 -5.45]]
    """
    if shift is None:
        shift = tf.zeros([1, x.shape[3]])
    return _normalization(groups, activation, for_xla())(x, table, shift)


@functools.cache
def _normalization(groups, activation, is_for_xla):
    """group_norm for one number of groups, one activation and one compiler."""
    sum_of_squares = _sum_in_xla if is_for_xla else _sum_of_squares

    # One graph for every shape, which all layers of that shape share. Values of channels are
    # [B, G, C / G] in it, those of groups [B, G, 1].
    @functools.partial(tf.function, autograph=False)
    def forward(x, table, shift):
        """y, and what the gradient needs of the statistics: offset, inverse, centre."""
        grouped, spatial = _shapes(x, groups)
        wide = tf.cast(x, tf.float32)
        gamma, beta = tf.unstack(table)
        mean = tf.reshape(tf.reduce_mean(wide, _PIXELS) + shift, grouped)
        of_group = tf.reduce_mean(mean, 2, keepdims=True)
        offset = tf.reshape(shift, grouped) - of_group
        centred = wide + tf.reshape(offset, spatial)
        squares = tf.reshape(sum_of_squares(centred), grouped)
        variance = tf.reduce_mean(squares, 2, keepdims=True) * (1.0 / _num_pixels(x))
        # Rounds alike in every position of a batch: see `instance_norm.instance_norm_plus`.
        inverse = tf.sqrt(1.0 / (variance + EPSILON))
        gain = tf.reshape(gamma, grouped) * inverse
        u = centred * tf.reshape(gain, spatial) + beta
        y = tf.cast(ACTIVATIONS[activation].value(u), x.dtype)
        return y, offset, inverse, mean - of_group

    # Not inlined: TensorFlow would regroup its sums, and not alike in every graph.
    @functools.partial(tf.function, autograph=False, experimental_attributes={"_noinline": True})
    def backward(upstream, x, table, offset, inverse, centre):
        """Gradients of x, of the table and of the shift."""
        grouped, spatial = _shapes(x, groups)
        share = 1.0 / _num_pixels(x)
        wide, upstream = tf.cast(x, tf.float32), tf.cast(upstream, tf.float32)
        gamma, beta = tf.unstack(table)
        gain = tf.reshape(gamma, grouped) * inverse
        # x + offset is not made: one pass over memory less, and the offset is put in where a number
        # a channel is enough.
        scale = tf.reshape(gain, spatial)
        u = wide * scale + (tf.reshape(offset * gain, spatial) + beta)
        d_u = ACTIVATIONS[activation].slope(u, upstream)
        total = tf.reshape(tf.reduce_sum(d_u, _PIXELS), grouped)
        weighted = tf.reshape(tf.reduce_sum(d_u * wide, _PIXELS), grouped) + offset * total
        slope = tf.reduce_mean(gain * weighted, 2, keepdims=True) * -tf.square(inverse) * share
        slope = slope * tf.ones([1, groups, x.shape[3] // groups])
        level = tf.reduce_mean(gain * total, 2, keepdims=True) * -share
        rest = tf.reshape(offset * slope + level, spatial)
        d_x = d_u * scale + (wide * tf.reshape(slope, spatial) + rest)
        d_shift = gain * total + (slope * centre + level) * _num_pixels(x)
        d_table = tf.stack([tf.reduce_sum(inverse * weighted, 0), tf.reduce_sum(total, 0)])
        return (
            tf.cast(d_x, x.dtype),
            tf.reshape(d_table, [2, x.shape[3]]),
            tf.reshape(d_shift, [-1, x.shape[3]]),
        )

    @custom_gradient
    def normalize(x, table, shift):
        y, *statistics = forward(x, table, shift)

        def gradient(upstream):
            d_x, d_table, d_shift = backward(upstream, x, table, *statistics)
            if shift.shape[0] == 1:
                d_shift = tf.reduce_sum(d_shift, 0, keepdims=True)
            # Behind a barrier: TensorFlow takes the sum over d_shift, which is the gradient of a
            # bias, for one over d_x, and has the convolution's gradient compute it.
            return d_x, d_table, barrier(d_shift)

        return y, gradient

    return normalize


@custom_gradient
def _sum_of_squares(x):
    """[B, H, W, C] -> [B, C], in one pass over memory: without a tensor of squares.

    The norm's own gradient would divide by it, and it may be 0.
    """
    sums = tf.square(tf.math.reduce_euclidean_norm(x, _PIXELS))
    return sums, lambda upstream: 2.0 * x * upstream[:, None, None]


def _sum_in_xla(x):
    """The same for XLA, which has no operation for the norm and needs none for one pass."""
    return tf.reduce_sum(tf.square(x), _PIXELS)


def _shapes(x, groups):
    """Of values of channels: by group, and beside pixels. Operations of the graph, once each."""
    channels = x.shape[3]
    return tf.constant([-1, groups, channels // groups]), tf.constant([-1, 1, 1, channels])


def _num_pixels(x):
    return x.shape[1] * x.shape[2]


def group_count(channels: int) -> int:
    """Groups of an NCSN++ normalisation: min(C // 4, 32).

    Raises:
        ValueError: when that does not divide the channels.

    Example:
        >>> group_count(12), group_count(256)
        (3, 32)
    """
    groups = min(channels // 4, 32)
    if not groups or channels % groups:
        raise ValueError(
            f"{channels} channels cannot be normalised in min({channels} // 4, 32) = {groups} "
            "groups: up to 128 channels need a multiple of 4, more a multiple of 32"
        )
    return groups


@keras.saving.register_keras_serializable("ncsn_tf")
class GroupNorm(keras.layers.Layer):
    """Group normalisation with an activation behind it (formula and source: `group_norm`).

    One table [2, C] holds gamma and beta, which start from 1 and 0.

    Args:
        activation: one of `ACTIVATIONS`.
        groups: number of groups; None for `group_count` of the channels.

    Shapes: [B, H, W, C], shift [B, C] or None -> [B, H, W, C].

    Raises:
        ValueError: when it is built, for channels that the groups do not divide.

    Example:
        >>> norm = GroupNorm("swish")
        >>> y = norm(tf.ones([2, 8, 8, 12]))
        >>> tuple(y.shape), norm.groups, tuple(norm.table.shape)
        ((2, 8, 8, 12), 3, (2, 12))
    """

    def __init__(self, activation: str = "none", groups: int | None = None, **kwargs: Any) -> None:
        # The shift is float32: it is not rounded to the type that convolutions compute in.
        super().__init__(autocast=False, **kwargs)
        self.activation = activation
        self.groups = groups

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if self.groups is None:
            self.groups = group_count(channels)
        elif channels % self.groups:
            raise ValueError(f"{channels} channels are no multiple of {self.groups} groups")
        self.table = self.add_weight(
            name="table", shape=(2, channels), initializer=_ones_and_zeros, **KEEP_FLOAT32
        )
        self.built = True

    def call(self, x: tf.Tensor, shift: tf.Tensor | None = None) -> tf.Tensor:
        return group_norm(x, tf.convert_to_tensor(self.table), self.groups, shift, self.activation)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": self.activation, "groups": self.groups}


def _ones_and_zeros(shape, dtype=None, **kwargs):
    return tf.stack([tf.ones(shape[1:], dtype), tf.zeros(shape[1:], dtype)])
