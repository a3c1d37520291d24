"""Which pixels of a picture are to be filled."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ncsn_tf.backend.choices import MASKS
from ncsn_tf.backend.sizes import ImageSize, sides
from ncsn_tf.data.decoding import fitted, in_channels, read_picture
from ncsn_tf.data.pictures import SizeError
from ncsn_tf.files import user_path

FILL_FROM = 128  # values of a mask that mean: fill this pixel


def load_mask(
    mask: str, size: ImageSize | Sequence[int], resize: bool = False, crop_size: int = 0
) -> np.ndarray:
    """Which pixels are to be filled: bool [H, W].

    Args:
        mask: "left", "right", "top", "bottom" (that half), "center" (of half the height and half
            the width), "random" (half of the pixels, always the same), or the path of a picture, in
            which what is nearer to white than to black is to be filled, by its luminance; what is
            transparent is black.
        size: of the images: the side of squares, or (H, W).
        resize: whether a picture of another size is cropped and resized, as the pictures are.
        crop_size: see `decoding.fitted`.

    Raises:
        FileNotFoundError: the mask is neither a file nor one of those names.
        ValueError: the mask leaves nothing to fill, or nothing known.
        SizeError: the picture has another size, without `resize`.
        UserError: the picture cannot be read.

    Example:
        >>> load_mask("right", 4).astype(int).tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
        >>> load_mask("bottom", (2, 3)).astype(int).tolist()
        [[0, 0, 0], [1, 1, 1]]
    """
    size = sides(size)
    unknown = _named_mask(mask, size) if mask in MASKS else _read(mask, size, resize, crop_size)
    if not unknown.any():
        raise ValueError(f"mask={mask} leaves nothing to fill: white is what is to be filled")
    if unknown.all():
        raise ValueError(f"mask={mask} leaves nothing known: black is what is kept")
    return unknown


def _read(mask, size, resize, crop_size):
    path = user_path(mask)
    if not os.path.exists(path):  # unlike path.exists() without errors
        raise FileNotFoundError(f"mask={mask} is neither a file nor one of {', '.join(MASKS)}")
    picture = in_channels(read_picture(path, background="black"), 1)
    if (picture.height, picture.width) != size:
        if not resize:
            raise SizeError(path, picture, [size])
        picture = fitted(picture, size, crop_size, Image.Resampling.NEAREST)
    return np.asarray(picture) >= FILL_FROM


def _named_mask(mask, size):
    height, width = size
    if mask == "random":
        return np.random.RandomState(0).permutation(height * width).reshape(size) % 2 == 0
    rows, columns = height // 2, width // 2
    top, left = height // 4, width // 4
    places = {
        "left": np.s_[:, :columns],
        "right": np.s_[:, columns:],
        "top": np.s_[:rows],
        "bottom": np.s_[rows:],
        "center": np.s_[top : top + rows, left : left + columns],
    }
    unknown = np.zeros(size, bool)
    unknown[places[mask]] = True
    return unknown
