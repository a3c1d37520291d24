"""Pictures that a user names, as arrays of the size that a network takes.

Every picture is read by `decoding.read_picture` and brought to its size and channels by
`decoding.fitted_pixels`, so that a folder of training images and a picture to be completed follow
one rule.
"""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ncsn_tf.data.decoding import SUFFIXES, fitted_pixels, in_channels, read_picture
from ncsn_tf.data.listing import find_pictures
from ncsn_tf.errors import UserError, warn
from ncsn_tf.files import read_arrays, user_path


class SizeError(UserError):
    """A picture of another size than those that can be used."""

    def __init__(
        self, name: str | os.PathLike, picture: Image.Image, sizes: Sequence[tuple[int, int]]
    ):
        right = " or ".join(f"{height}x{width}" for height, width in sizes)
        super().__init__(
            f"{name} has {picture.height}x{picture.width} pixels (height x width), not {right}: "
            "give one of that size"
        )


def load(
    path: str | os.PathLike,
    shape: tuple[int, int, int],
    resize: bool = False,
    also_sizes: Sequence[tuple[int, int]] = (),
    crop_size: int = 0,
) -> list[np.ndarray]:
    """Pictures from a file, a folder or an .npz.

    Args:
        path: a picture, a folder with pictures (taken in the order of their names), or an .npz with
            an array `images`, uint8 [N, H, W, C].
        shape: (H, W, C) of the network's images. Grey pictures become colour, and colours grey
            (which is said), as those of a training folder.
        resize: whether pictures of other sizes are cropped and resized, as training images are.
        also_sizes: other (height, width) that are right as well.
        crop_size: that of the run, see `decoding.fitted`.

    Returns:
        list of uint8 [H, W, C], at least one; other heights and widths by `also_sizes`.

    Raises:
        SizeError: a picture has another size, without `resize`.
        UserError: a picture cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (20, 10)).save(os.path.join(folder, "wide.png"))
        ...     pictures = load(folder, (8, 8, 1), resize=True)
        >>> [picture.shape for picture in pictures]
        [(8, 8, 1)]
    """
    path = user_path(path)
    named = _read_all(path)
    if shape[2] == 1:
        number = sum(map(_has_colours, (picture for _, picture in named)))
        if number:
            warn(f"{number} of {len(named)} in {path} with colours: made grey for the network")
    return [_fit(name, picture, shape, resize, also_sizes, crop_size) for name, picture in named]


def _read_all(path):
    """(name, picture) of each."""
    if os.path.isdir(path):
        found = find_pictures(path, deep=False)
        if not found.paths:
            left_out = "".join(f"; left out: {line}" for line in found.left_out)
            raise UserError(f"no pictures ({' '.join(SUFFIXES)}) in {path}{left_out}")
        for line in found.left_out:
            warn(f"left out of {path}: {line}")
        return [(file, read_picture(file)) for file in found.paths]
    if path.suffix.lower() == ".npz":
        return [(f"image {i} of {path}", picture) for i, picture in enumerate(_from_npz(path))]
    return [(path, read_picture(path))]


def _from_npz(path):
    images = read_arrays(path, ["images"])["images"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f"{path} must have images as uint8 [N, H, W, 1 or 3], not {images.dtype} "
            f"{list(images.shape)}"
        )
    if not images.size:
        raise UserError(f"{path} has no images")
    return [Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in images]


def _has_colours(picture):
    pixels = np.asarray(picture)
    return pixels.ndim == 3 and bool(np.any(pixels != pixels[:, :, :1]))


def _fit(name, picture, shape, resize, also_sizes, crop_size):
    """The pixels of a picture in the size and the channels wanted."""
    *size, channels = shape
    sizes = (tuple(size), *also_sizes)
    if (picture.height, picture.width) in sizes:
        pixels = np.asarray(in_channels(picture, channels))
        return pixels.reshape(*pixels.shape[:2], channels)
    if not resize:
        raise SizeError(name, picture, sizes)
    return fitted_pixels(picture, shape, crop_size)
