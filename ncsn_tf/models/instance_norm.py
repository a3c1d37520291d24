"""Instance normalisation++ as a pure function, whose backward pass is written out."""

import functools

import tensorflow as tf

from ncsn_tf.backend.compat import custom_gradient

EPSILON = 1e-5


def instance_norm_plus(x: tf.Tensor, table: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
    """Conditional instance normalisation++.

    With mu_k, s_k^2 the spatial mean and (biased) variance of channel k, and m, v^2 the mean and
    the *unbiased* variance of the mu_k over the channels:

        y_k = gamma_k * (x_hat_k + alpha_k * mu_hat_k) + beta_k
        x_hat_k = (x_k - mu_k) / sqrt(s_k^2 + eps),   mu_hat_k = (mu_k - m) / sqrt(v^2 + eps)

    evaluated as x * A + B with A, B of one number a sample and channel. The statistics and the
    parameters are float32 whatever the type of x. The backward pass is written out: it keeps x
    alone, and takes half the nodes that automatic differentiation would. Differentiable twice.

    Args:
        x: float [batch, height, width, C], C >= 2.
        table: float32 [L, 3 C], the rows (gamma, alpha, beta) of each noise level.
        levels: int32 [batch], rows of the table.

    Returns:
        y, of x's shape and type.

    Source: Song & Ermon 2019, appendix A; alpha multiplied by gamma and the unbiased variance as in
    the released code (the paper's formula has neither).

    Example:
        >>> x = tf.reshape(tf.range(8.0), [1, 2, 2, 2])
        >>> gamma, alpha, beta = [1.0, 1.0], [0.0, 0.0], [5.0, -5.0]
        >>> y = instance_norm_plus(x, tf.constant([gamma + alpha + beta]), [0])
        >>> print(y[0, 0].numpy().round(2))
        [[ 3.66 -6.34]
         [ 4.55 -5.45]]
    """
    return _instance_norm_plus(x, table, levels)


def labelled_instance_norm_plus(
    x: tf.Tensor, table: tf.Tensor, levels: tf.Tensor, class_table: tf.Tensor, labels: tf.Tensor
) -> tf.Tensor:
    """`instance_norm_plus` whose (gamma, alpha, beta) are the level's and the class's, added.

    Args:
        x, table, levels: see `instance_norm_plus`.
        class_table: float32 [K, 3 C], what each class adds to a row of the other table.
        labels: int32 [batch], rows of it.

    Returns:
        y, of x's shape and type.

    Example:
        >>> x = tf.reshape(tf.range(8.0), [1, 2, 2, 2])
        >>> table, of_class = tf.constant([[1.0, 1.0] + [0.0] * 4]), tf.zeros([1, 6])
        >>> y = labelled_instance_norm_plus(x, table, [0], of_class, [0])
        >>> bool(tf.reduce_all(y == instance_norm_plus(x, table, [0])))
        True
    """
    return _labelled_instance_norm_plus(x, table, levels, class_table, labels)


@custom_gradient
def _labelled_instance_norm_plus(x, table, levels, class_table, labels):
    def parameters():
        return tf.gather(table, levels) + tf.gather(class_table, labels)

    y, *moments = _normalize(x, parameters())

    def gradient(upstream):
        d_x, d_parameters = _normalize_gradient(upstream, x, parameters(), *moments)
        d_table = tf.math.unsorted_segment_sum(d_parameters, levels, table.shape[0])
        d_classes = tf.math.unsorted_segment_sum(d_parameters, labels, class_table.shape[0])
        return d_x, d_table, None, d_classes, None

    return y, gradient


@custom_gradient
def _instance_norm_plus(x, table, levels):
    y, *moments = _normalize(x, tf.gather(table, levels))

    def gradient(upstream):
        d_x, d_parameters = _normalize_gradient(upstream, x, tf.gather(table, levels), *moments)
        return d_x, tf.math.unsorted_segment_sum(d_parameters, levels, table.shape[0]), None

    return y, gradient


# One graph for every shape, which all layers of that shape share: tracing each layer by itself
# doubles the time that a training step takes to trace.
@functools.partial(tf.function, autograph=False)
def _normalize(x, parameters):
    """y, and (mean, inverse, mean_hat, inverse_spread) for its gradient."""
    channels = x.shape[3]
    wide = tf.cast(x, tf.float32)
    gamma, alpha, beta = tf.split(parameters, 3, axis=1)  # [B, C] each
    mean = tf.reduce_mean(wide, [1, 2], keepdims=True)  # [B, 1, 1, C]
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), [1, 2])
    mean = tf.reshape(mean, [-1, channels])
    # Square root and division round alike in every position of a batch. rsqrt does not, and
    # TensorFlow would rewrite 1 / sqrt(v) into it; sqrt(1 / v) it leaves alone.
    inverse = tf.sqrt(1.0 / (variance + EPSILON))
    centred = mean - tf.reduce_mean(mean, 1, keepdims=True)
    spread = tf.reduce_sum(tf.square(centred), 1, keepdims=True) * (1.0 / (channels - 1))
    inverse_spread = tf.sqrt(1.0 / (spread + EPSILON))
    mean_hat = centred * inverse_spread
    scale = gamma * inverse
    shift = gamma * alpha * mean_hat + beta - mean * scale
    y = tf.cast(wide * _spatial(scale) + _spatial(shift), x.dtype)
    return y, mean, inverse, mean_hat, inverse_spread


# Not inlined: TensorFlow would regroup its sums, and not alike in every graph that it is part of.
@functools.partial(tf.function, autograph=False, experimental_attributes={"_noinline": True})
def _normalize_gradient(upstream, x, parameters, mean, inverse, mean_hat, inverse_spread):
    """Gradients of x and of the parameters."""
    pixels = x.shape[1] * x.shape[2]
    channels = x.shape[3]
    wide, wide_upstream = tf.cast(x, tf.float32), tf.cast(upstream, tf.float32)
    gamma, alpha, _ = tf.split(parameters, 3, axis=1)
    # Sums over the pixels of dy and of dy * (x - mu): all that the parameters and the statistics
    # need.
    total = tf.reduce_sum(wide_upstream, [1, 2])
    weighted = tf.reduce_sum(wide_upstream * wide, [1, 2]) - mean * total
    d_mixed = mean_hat * total
    d_gamma = inverse * weighted + alpha * d_mixed
    d_alpha = gamma * d_mixed
    d_mean_hat = gamma * alpha * total
    along = tf.reduce_sum(mean_hat * d_mean_hat, 1, keepdims=True)
    pull = along * (1.0 / (channels - 1))
    d_centred = inverse_spread * (d_mean_hat - mean_hat * pull)
    scale = gamma * inverse
    d_mean = d_centred - tf.reduce_mean(d_centred, 1, keepdims=True) - scale * total
    slope = scale * tf.square(inverse) * weighted * (-1.0 / pixels)
    offset = d_mean * (1.0 / pixels) - slope * mean
    dy, x_again, scale, slope, offset = _gradients_together(
        wide_upstream, wide, scale, slope, offset
    )
    d_x = dy * _spatial(scale) + x_again * _spatial(slope) + _spatial(offset)
    return tf.cast(d_x, x.dtype), tf.concat([d_gamma, d_alpha, total], 1)


@custom_gradient
def _gradients_together(*tensors):
    """The tensors; no gradient of theirs is passed on before all of them are computed.

    A sum of three or more tensors may reuse the memory of one that nobody else needs any more, and
    then starts with that one. Which one it is would depend on the order in which the threads
    happened to run, and so would the rounding of second derivatives.
    """

    def gradient(*upstreams):
        # TensorFlow's graph optimizer would see through any identity but this.
        with tf.control_dependencies(upstreams):
            return [
                tf.raw_ops.PlaceholderWithDefault(input=upstream, shape=upstream.shape)
                for upstream in upstreams
            ]

    return [tf.identity(tensor) for tensor in tensors], gradient


def _spatial(values):
    """[B, C] -> [B, 1, 1, C]."""
    return tf.reshape(values, [-1, 1, 1, values.shape[1]])
