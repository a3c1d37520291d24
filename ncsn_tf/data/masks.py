"""Which pixels of a picture are to be filled."""

from pathlib import Path

import numpy as np
from PIL import Image

from ncsn_tf.backend.choices import MASKS
from ncsn_tf.data.pictures import SizeError, read_picture

FILL_FROM = 128  # values of a mask that mean: fill this pixel


def load_mask(mask: str, size: int, resize: bool = False) -> np.ndarray:
    """Which pixels are to be filled: bool [size, size].

    Args:
        mask: "left", "right", "top", "bottom" (that half), "center" (a square of half the side),
            "random" (half of the pixels, always the same), or the path of a picture, in which what
            is nearer to white than to black is to be filled.
        size: side of the images.
        resize: whether a picture of another size is resized.

    Raises:
        FileNotFoundError: the mask is neither a file nor one of those names.
        ValueError: the mask leaves nothing to fill.
        SizeError: the picture has another size, without `resize`.
        UserError: the picture cannot be read.

    Example:
        >>> load_mask("right", 4).astype(int).tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if mask in MASKS:
        return _named_mask(mask, size)
    path = Path(mask).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"mask={mask} is neither a file nor one of {', '.join(MASKS)}")
    picture = read_picture(path).convert("L")
    if picture.size != (size, size):
        if not resize:
            raise SizeError(path, picture, [size])
        picture = picture.resize((size, size), Image.Resampling.NEAREST)
    unknown = np.asarray(picture) >= FILL_FROM
    if not unknown.any():
        raise ValueError(f"mask={mask} leaves nothing to fill: white is what is to be filled")
    return unknown


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
