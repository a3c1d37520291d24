"""What a set of images is, and those of an array; `images` has those of files."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from ncsn_tf.files import digest


class Images(Protocol):
    """A set of images, read from any place on.

    Attributes:
        name: what they are, for messages.
        count: N, at most: images that cannot be decoded may be left out.
        shape: (H, W, C).
    """

    name: str
    count: int
    shape: tuple[int, int, int]

    def blocks(self, start: int) -> Iterable[np.ndarray]:
        """Yield uint8 [b, H, W, C], from image `start` on."""

    def fingerprint(self) -> str:
        """Another one whenever the images are others."""


class ArrayImages:
    """`Images` of an array, uint8 [N, H, W, C].

    Example:
        >>> images = ArrayImages(np.zeros([3, 8, 8, 1], np.uint8))
        >>> [len(block) for block in images.blocks(1)]
        [2]
    """

    def __init__(self, array: np.ndarray, name: str = "samples"):
        self.array = array
        self.name = name
        self.count = len(array)
        self.shape = tuple(array.shape[1:])

    def blocks(self, start: int) -> Iterable[np.ndarray]:
        """See `Images`."""
        yield self.array[start:]

    def fingerprint(self) -> str:
        """See `Images`."""
        return digest([str(self.array.shape).encode(), np.ascontiguousarray(self.array)])


class FirstImages:
    """The first of other `Images`.

    Args:
        images: all of them.
        count: how many; if there are fewer, all.

    Example:
        >>> images = FirstImages(ArrayImages(np.zeros([3, 8, 8, 1], np.uint8)), 2)
        >>> [len(block) for block in images.blocks(0)]
        [2]
    """

    def __init__(self, images: Images, count: int):
        self._images = images
        self.name = images.name
        self.count = min(count, images.count)
        self.shape = images.shape

    def blocks(self, start: int) -> Iterable[np.ndarray]:
        """See `Images`."""
        left = self.count - start
        for block in self._images.blocks(start) if left > 0 else ():
            yield block[:left]
            left -= len(block)
            if left <= 0:
                return

    def fingerprint(self) -> str:
        """See `Images`."""
        return self._images.fingerprint()
