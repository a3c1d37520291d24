"""The networks' operations as pure functions, with the reference's borders."""

import functools

import numpy as np
import tensorflow as tf


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


def scaled_sum(x: tf.Tensor, y: tf.Tensor, gain: float) -> tf.Tensor:
    """gain (x + y), x behind a `barrier`: how a residual block and a pyramid end.

    Example:
        >>> float(scaled_sum(tf.constant(1.0), tf.constant(3.0), 0.5))
        2.0
    """
    total = barrier(x) + y
    return total if gain == 1.0 else total * gain


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
