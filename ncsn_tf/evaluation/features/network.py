"""What every feature network is: images in, features and perhaps probabilities out, in tiles."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

TILE = 8  # images in the network at once: as many suit a CPU's cache


class Features(NamedTuple):
    """What a network makes of B images.

    Attributes:
        vectors: float32 [B, D].
        probabilities: float32 [B, K], rows that add up to 1; None where the network has none.
    """

    vectors: np.ndarray
    probabilities: np.ndarray | None


class FeatureNetwork:
    """A network whose features images are compared by. It resizes images itself.

    Args:
        compute: uint8 [tile, H, W, C] -> (float32 [tile, D], float32 [tile, K] or None). C is
            `channels`, if that is given.
        name: for the names of figures, such as "EfficientNetLite0" in FD-EfficientNetLite0.
        checksum: of its weights or file, the first 16 hexadecimal digits of a sha256.
        resize: what is done to the size of images, in words; "none" where nothing is.
        dimension: D.
        num_classes: K; 0 where the network has no probabilities.
        channels: of its images, 1 or 3, to which others are converted; 0 takes both as they are.
        tile: images at once. Each tile is full, the last one with black images: so features of an
            image do not depend on how many are computed together.
        is_inception: whether it is the network that FID, KID and IS are named for.

    Example:
        >>> means = FeatureNetwork(
        ...     lambda pixels: (pixels.mean((1, 2), dtype=np.float32), None),
        ...     name="Means", checksum="0" * 16, resize="none", dimension=3,
        ... )
        >>> means(np.full([5, 8, 8, 1], 7, np.uint8)).vectors[4].tolist()
        [7.0, 7.0, 7.0]
    """

    def __init__(
        self,
        compute: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]],
        *,
        name: str,
        checksum: str,
        resize: str,
        dimension: int,
        num_classes: int = 0,
        channels: int = 3,
        tile: int = TILE,
        is_inception: bool = False,
    ) -> None:
        self._compute = compute
        self.name = name
        self.checksum = checksum
        self.resize = resize
        self.dimension = dimension
        self.num_classes = num_classes
        self.channels = channels
        self.tile = tile
        self.is_inception = is_inception

    def __call__(self, pixels: np.ndarray) -> Features:
        """The features of images.

        Args:
            pixels: uint8 [B, H, W, C], C 1 or 3.

        Raises:
            ValueError: other shapes or numbers.
        """
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise ValueError(
                f"images must be uint8 [B, H, W, 1] or [B, H, W, 3], not {pixels.dtype} "
                f"{list(pixels.shape)}"
            )
        vectors = np.empty([len(pixels), self.dimension], np.float32)
        probabilities = None
        if self.num_classes:
            probabilities = np.empty([len(pixels), self.num_classes], np.float32)
        for start in range(0, len(pixels), self.tile):
            images = with_channels(pixels[start : start + self.tile], self.channels)
            count = len(images)
            tile = np.zeros([self.tile, *images.shape[1:]], np.uint8)
            tile[:count] = images
            found, likely = self._compute(tile)
            vectors[start : start + count] = found[:count]
            if probabilities is not None:
                probabilities[start : start + count] = likely[:count]
        return Features(vectors, probabilities)


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Images in grey or colour: grey ones three times, or the luma of colours (ITU-R 601).

    Args:
        pixels: uint8 [B, H, W, 1 or 3].
        channels: 1 or 3; 0 changes nothing.

    Returns:
        uint8 [B, H, W, channels].

    Example:
        >>> with_channels(np.full([1, 1, 1, 1], 7, np.uint8), 3).ravel().tolist()
        [7, 7, 7]
    """
    if channels in (0, pixels.shape[3]):
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=3)
    return np.rint(pixels @ np.array([[0.299], [0.587], [0.114]])).astype(np.uint8)
