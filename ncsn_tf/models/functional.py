"""The networks' operations as pure functions, with the reference's borders and statistics."""

import functools

import numpy as np
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


def mean_pool(x: tf.Tensor) -> tf.Tensor:
    """Mean of each 2 x 2 block: [B, H, W, C] -> [B, H/2, W/2, C]; H and W even.

    Example:
        >>> x = tf.reshape(tf.range(8.0), [1, 2, 4, 1])
        >>> mean_pool(x)[0, :, :, 0].numpy().tolist()
        [[2.5, 4.5]]
    """
    return tf.nn.avg_pool2d(x, 2, 2, "VALID")


def pooled_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """The kernel that pools what it convolves: [3, 3, in, out] -> [4, 4, in, out].

        mean_pool(conv(x, K)) = conv(x, pooled_kernel(K)) at every other row and column

    for a convolution whose zero padding is one pixel wide. The mean of four shifted copies of K:
    16 multiply-adds a pixel of the result, channel by channel, instead of 36.

    Example:
        >>> identity = tf.pad(tf.ones([1, 1, 1, 1]), [[1, 1], [1, 1], [0, 0], [0, 0]])
        >>> print(pooled_kernel(identity)[:, :, 0, 0].numpy())
        [[0.   0.   0.   0.  ]
         [0.   0.25 0.25 0.  ]
         [0.   0.25 0.25 0.  ]
         [0.   0.   0.   0.  ]]
    """
    side = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]) / 2  # [4, 3]
    spread = tf.constant(np.kron(side, side), kernel.dtype)  # [16, 9]
    pooled = tf.matmul(spread, tf.reshape(kernel, [9, -1]))
    return tf.reshape(pooled, [4, 4, *kernel.shape[2:]])


def dilated_convolution(x: tf.Tensor, kernel: tf.Tensor, dilation: int) -> tf.Tensor:
    """`tf.nn.conv2d(x, kernel, 1, "SAME", dilations=dilation)`, by convolutions without dilation.

    One for each of the dilation^2 images that every so many rows and columns make. For where
    TensorFlow cannot compute the gradients of a dilated convolution.

    Args:
        x: float [B, H, W, inputs].
        kernel: of x's type, [size, size, inputs, filters].
        dilation: distance between the kernel's taps.

    Example:
        >>> x, kernel = tf.ones([1, 4, 4, 1]), tf.ones([3, 3, 1, 1])
        >>> dilated_convolution(x, kernel, 2)[0, 0, :, 0].numpy().tolist()  # 4 taps are inside
        [4.0, 4.0, 4.0, 4.0]
    """
    padding = [[0, -side % dilation] for side in x.shape[1:3]]
    parts = tf.space_to_batch(x, [dilation, dilation], padding)
    parts = tf.nn.conv2d(parts, kernel, 1, "SAME")
    return tf.batch_to_space(parts, [dilation, dilation], padding)


def average_pool_5x5(x: tf.Tensor) -> tf.Tensor:
    """Mean over 5 x 5, stride 1, the two rows and columns of zero padding counted, as PyTorch does.

    TensorFlow's SAME pooling divides by the number of pixels inside the image; the product with
    that number over 25 gives the mean that counts the padding.

    Example:
        >>> print(average_pool_5x5(tf.ones([1, 5, 5, 1]))[0, 2, :, 0].numpy().round(3))
        [0.6 0.8 1.  0.8 0.6]
    """
    counted = _inside_share(x.shape[1], x.shape[2])
    return tf.nn.avg_pool2d(x, 5, 1, "SAME") * tf.constant(counted, x.dtype)


def barrier(x: tf.Tensor) -> tf.Tensor:
    """x, behind an operation that TensorFlow's graph optimizer does not look through.

    It would merge the sum that ends a residual block with an ELU that follows, even where others
    need the sum too; it then stops with an error message, and leaves the whole graph unmerged. And
    it would merge a sum with the biased convolution before it into an operation that keeps the
    addend in the kernel itself: two tiles of a batch at the same time then crash.

    Example:
        >>> barrier(tf.constant([1.0, 2.0])).numpy().tolist()
        [1.0, 2.0]
    """
    return tf.raw_ops.PlaceholderWithDefault(input=x, shape=x.shape)


def max_pool_5x5(x: tf.Tensor) -> tf.Tensor:
    """Largest value over 5 x 5, stride 1, of the pixels inside the image.

    Example:
        >>> x = tf.constant([-1.0, -2.0, -3.0, -4.0, -5.0], shape=[1, 1, 5, 1])
        >>> max_pool_5x5(x)[0, 0, :, 0].numpy().tolist()
        [-1.0, -1.0, -1.0, -2.0, -3.0]
    """
    return tf.nn.max_pool2d(x, 5, 1, "SAME")


def resize_align_corners(x: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Bilinear resize whose corner pixels keep their values (PyTorch's `align_corners=True`).

    Two products with constant interpolation matrices: differentiable to any order, the same on
    every device.

    Example:
        >>> x = tf.constant([0.0, 4.0], shape=[1, 1, 2, 1])
        >>> resize_align_corners(x, 1, 5)[0, 0, :, 0].numpy().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    if (x.shape[1], x.shape[2]) == (height, width):
        return x
    channels = x.shape[3]
    rows = tf.constant(_interpolation(x.shape[1], height), x.dtype)  # [height, h]
    columns = tf.constant(_interpolation(x.shape[2], width), x.dtype)  # [width, w]
    x = tf.reshape(
        tf.einsum("Hh,bhn->bHn", rows, tf.reshape(x, [-1, x.shape[1], x.shape[2] * channels])),
        [-1, x.shape[2], channels],
    )
    return tf.reshape(tf.einsum("Ww,nwc->nWc", columns, x), [-1, height, width, channels])


@functools.cache
def _inside_share(height, width):
    """Share of the 5 x 5 window around a pixel that is inside the image: [1, height, width, 1]."""
    shares = []
    for size in (height, width):
        index = np.arange(size)
        shares.append((np.minimum(index + 2, size - 1) - np.maximum(index - 2, 0) + 1) / 5)
    return (shares[0][:, None] * shares[1][None, :])[None, :, :, None]


@functools.cache
def _interpolation(source, target):
    """Matrix [target, source] of linear interpolation between the two ends."""
    position = np.linspace(0.0, source - 1.0, target)
    low = np.minimum(position.astype(int), max(source - 2, 0))
    weight = position - low
    matrix = np.zeros((target, source))
    matrix[np.arange(target), low] = 1.0 - weight
    matrix[np.arange(target), np.minimum(low + 1, source - 1)] += weight
    return matrix


def _spatial(values):
    """[B, C] -> [B, 1, 1, C]."""
    return tf.reshape(values, [-1, 1, 1, values.shape[1]])
