"""Sources: images by their places, of which batches are made."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from ncsn_tf.backend.sizes import ImageSize, sides
from ncsn_tf.data.class_names import numbered
from ncsn_tf.data.crops import centred_box
from ncsn_tf.data.images import to_uint8
from ncsn_tf.files import digest

_PART = 1024  # images at a time
_LOOKED_AT = 256  # images whose pixels are in a fingerprint, whatever else is


class Images(Protocol):
    """N images by their places, 0 to N - 1; some may turn out not to be readable.

    What is answered depends on the places alone, whatever was asked before and in which thread.

    Attributes:
        shape: (N, H, W, C), N at least 1.
    """

    shape: tuple[int, int, int, int]

    def readable(self, places: np.ndarray) -> np.ndarray:
        """Which images at places, int64 [n], can be read: bool [n]."""
        ...

    def standing_in(self, places: np.ndarray) -> np.ndarray:
        """Places, int64 [n], each that cannot be read replaced by the next that can be.

        After N - 1 comes 0.
        """
        ...

    def pixels(self, places: np.ndarray) -> np.ndarray:
        """The images at places, int64 [n], which can be read: uint8 [n, H, W, C]."""
        ...

    def fingerprint(self) -> str:
        """Another one whenever one of the images may be another."""
        ...


class ArrayImages:
    """Images in memory.

    Args:
        array: uint8 [N, H, W, C].

    Example:
        >>> images = ArrayImages(np.zeros([3, 8, 8, 1], np.uint8))
        >>> images.shape, images.pixels(np.array([2, 0])).shape
        ((3, 8, 8, 1), (2, 8, 8, 1))
    """

    def __init__(self, array: np.ndarray):
        self.array = array
        self.shape = array.shape

    def readable(self, places: np.ndarray) -> np.ndarray:
        return np.ones(len(places), bool)

    def standing_in(self, places: np.ndarray) -> np.ndarray:
        return places

    def pixels(self, places: np.ndarray) -> np.ndarray:
        return self.array[places]

    def fingerprint(self) -> str:
        parts = (self.array[start : start + _PART] for start in range(0, len(self.array), _PART))
        return digest(np.ascontiguousarray(part).data for part in parts)


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Images, what they are called, and their classes.

    Attributes:
        images: in memory, encoded in memory, or in a file of prepared images.
        name: what the images are, for messages.
        labels: int64 [N], the class of each image, below 0 where it is not known; None where the
            data set has no classes.
        classes: the names of the classes, in the order of their numbers; empty where there are
            none, or they have no names.
    """

    images: Images
    name: str
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    @property
    def num_examples(self) -> int:
        """N, counting images that turn out not to be readable."""
        return self.images.shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return tuple(self.images.shape[1:])

    def fingerprint(self) -> str:
        """16 digits: others whenever one of the images, their order or their labels may be others.

        For the names of what is computed of the images and kept. Images that are not in memory are
        not all read for it: that of a file is its size and time, and a few hundred of its images.

        Example:
            >>> first, second = (from_arrays(np.full([3, 8, 8], value)) for value in (0.0, 1.0))
            >>> first.fingerprint() == second.fingerprint(), len(first.fingerprint())
            (False, 16)
        """
        places = np.linspace(0, self.num_examples - 1, min(self.num_examples, _LOOKED_AT))
        places = places.astype(np.int64)
        places = places[self.images.readable(places)]
        labels = b"" if self.labels is None else self.labels.tobytes()
        start = f"{list(self.images.shape)} {self.images.fingerprint()}"
        return digest([start.encode(), self.images.pixels(places).tobytes(), labels])


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    name: str = "arrays",
    classes: Sequence[str] = (),
) -> Source:
    """A source of images that are arrays.

    Args:
        images: [N, H, W], which are grey, or [N, H, W, C]; uint8, or float in [0, 1], which is
            rounded to 8 bits. N is at least 1.
        labels: int [N], the class of each image, from 0, or [N] names of classes; None where there
            are no classes.
        name: what the images are, for messages.
        classes: the names of the classes, in the order of their numbers; empty where the labels
            have no names, or are the names themselves, in sorted order.

    Raises:
        ValueError: another shape or type, values outside their range, or not a label an image.

    Example:
        >>> source = from_arrays(np.zeros([10, 8, 8]), labels=np.arange(10))
        >>> source.num_examples, source.image_shape
        (10, (8, 8, 1))
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
        if labels.dtype.kind in "US":
            labels, classes = numbered(labels, classes)
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"labels must be {len(images)} whole numbers, one an image, not {labels.dtype} "
                f"{list(labels.shape)}"
            )
        if labels.min() < 0:
            raise ValueError(f"labels must be at least 0, not {labels.min()}")
        if len(classes) and labels.max() >= len(classes):
            raise ValueError(f"labels must be below {len(classes)}, the number of classes")
        labels = labels.astype(np.int64)
    return Source(ArrayImages(images), name, labels, tuple(map(str, classes)))


def crop_and_resize(
    images: tf.Tensor, image_size: ImageSize | Sequence[int], crop_size: int = 0
) -> tf.Tensor:
    """The centred rectangle of images, bilinearly resized with antialiasing.

    Args:
        images: uint8 [h, w, C] or [B, h, w, C], of static shape.
        image_size: of the result: the side of squares, or (H, W).
        crop_size: shorter side of the rectangle, see `crops.centred_box`; 0 means the largest.

    Returns:
        uint8 [H, W, C] or [B, H, W, C].

    Example:
        >>> tuple(crop_and_resize(np.zeros([6, 10, 3], np.uint8), image_size=(4, 6)).shape)
        (4, 6, 3)
    """
    images, size = tf.convert_to_tensor(images), sides(image_size)
    top, left, rows, columns = centred_box(*images.shape[-3:-1], size, crop_size)
    images = images[..., top : top + rows, left : left + columns, :]
    if (rows, columns) == size:
        return images
    return tf.saturate_cast(tf.round(tf.image.resize(images, size, antialias=True)), tf.uint8)
