"""Sources: images in memory, of which batches are made."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ncsn_tf.data.encoded import EncodedImages
from ncsn_tf.data.images import to_uint8


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Images held in memory, encoded or not.

    Attributes:
        records: uint8 [N, H, W, C], or bytes [N] (an array of objects), each an encoded image.
        decode: one record -> uint8 [H, W, C]; of bytes raises a `PictureError`.
        num_examples: N, at least 1, counting records that turn out to be undecodable.
        image_shape: (H, W, C).
        name: what the images are, for messages.
        labels: int64 [N], the class of each image; None where the data set has no classes.
    """

    records: Any
    decode: Callable[[Any], np.ndarray]
    num_examples: int
    image_shape: tuple[int, int, int]
    name: str
    labels: np.ndarray | None = None

    @functools.cached_property
    def encoded(self) -> EncodedImages | None:
        """What decodes the records; None where they are pixels."""
        if self.records.dtype == np.uint8:
            return None
        return EncodedImages(self.records, self.decode, self.image_shape, self.name)


def from_arrays(
    images: np.ndarray, labels: np.ndarray | None = None, name: str = "arrays"
) -> Source:
    """A source of images that are arrays.

    Args:
        images: [N, H, W], which are grey, or [N, H, W, C]; uint8, or float in [0, 1], which is
            rounded to 8 bits. N is at least 1.
        labels: int [N], the class of each image, from 0; None where there are no classes.
        name: what the images are, for messages.

    Raises:
        ValueError: another shape or type, values outside their range, or not a label an image.

    Example:
        >>> source = from_arrays(np.zeros([10, 8, 8]), labels=np.arange(10))
        >>> source.num_examples, source.image_shape, source.records.dtype
        (10, (8, 8, 1), dtype('uint8'))
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        raise ValueError(f"images must be [N, H, W] or [N, H, W, C], not {list(images.shape)}")
    if np.issubdtype(images.dtype, np.floating):
        if not np.all((images >= 0) & (images <= 1)):
            raise ValueError("images of floating-point numbers must be in [0, 1]")
        images = to_uint8(images)
    elif images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, or float in [0, 1], not {images.dtype}")
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"labels must be {len(images)} whole numbers, one an image, not {labels.dtype} "
                f"{list(labels.shape)}"
            )
        if labels.min() < 0:
            raise ValueError(f"labels must be at least 0, not {labels.min()}")
        labels = labels.astype(np.int64)
    return Source(images, lambda image: image, len(images), images.shape[1:], name, labels)


def crop_and_resize(images: tf.Tensor, image_size: int, crop_size: int = 0) -> tf.Tensor:
    """The centred square of images, bilinearly resized with antialiasing.

    Args:
        images: uint8 [H, W, C] or [B, H, W, C].
        image_size: side of the result.
        crop_size: side of the square; 0, or more than the image's shorter side, means the largest
            square.

    Returns:
        uint8 [image_size, image_size, C] or [B, image_size, image_size, C].

    Example:
        >>> tuple(crop_and_resize(np.zeros([6, 10, 3], np.uint8), image_size=4).shape)
        (4, 4, 3)
    """
    images = tf.convert_to_tensor(images)
    height, width = tf.shape(images)[-3], tf.shape(images)[-2]
    side = tf.minimum(height, width)
    if crop_size:
        side = tf.minimum(side, crop_size)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[..., top : top + side, left : left + side, :]

    def resized():
        values = tf.image.resize(square, [image_size, image_size], antialias=True)
        return tf.saturate_cast(tf.round(values), tf.uint8)

    result = tf.cond(side == image_size, lambda: square, resized)
    return tf.ensure_shape(result, [*images.shape[:-3], image_size, image_size, images.shape[-1]])
