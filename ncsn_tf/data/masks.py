"""Which pixels of a picture are to be filled."""

import os

import numpy as np
from PIL import Image

from ncsn_tf.backend.choices import MASKS
from ncsn_tf.data.decoding import crop_square, in_channels, read_picture
from ncsn_tf.data.pictures import SizeError
from ncsn_tf.files import user_path

FILL_FROM = 128  # values of a mask that mean: fill this pixel


def load_mask(mask: str, size: int, resize: bool = False, crop_size: int = 0) -> np.ndarray:
    """Which pixels are to be filled: bool [size, size].

    Args:
        mask: "left", "right", "top", "bottom" (that half), "center" (a square of half the side),
            "random" (half of the pixels, always the same), or the path of a picture, in which what
            is nearer to white than to black is to be filled, by its luminance; what is transparent
            is black.
        size: side of the images.
        resize: whether a picture of another size is cropped to a centred square and resized, as
            the pictures are.
        crop_size: side of that square; 0 means the largest.

    Raises:
        FileNotFoundError: the mask is neither a file nor one of those names.
        ValueError: the mask leaves nothing to fill, or nothing known.
        SizeError: the picture has another size, without `resize`.
        UserError: the picture cannot be read.

    Example:
        >>> load_mask("right", 4).astype(int).tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
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
    if picture.size != (size, size):
        if not resize:
            raise SizeError(path, picture, [size])
        square = crop_square(picture, crop_size or None)
        picture = square.resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(picture) >= FILL_FROM


def _named_mask(mask, size):
    if mask == "random":
        return np.random.RandomState(0).permutation(size * size).reshape(size, size) % 2 == 0
    half, quarter = size // 2, size // 4
    places = {
        "left": np.s_[:, :half],
        "right": np.s_[:, half:],
        "top": np.s_[:half],
        "bottom": np.s_[half:],
        "center": np.s_[quarter : quarter + half, quarter : quarter + half],
    }
    unknown = np.zeros([size, size], bool)
    unknown[places[mask]] = True
    return unknown
