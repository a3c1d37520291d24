"""Pictures that a user names, as arrays of the size that a network takes.

Every picture is read by `read_picture`, so that a folder of training images and a picture to be
completed follow one rule.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ncsn_tf.errors import UserError
from ncsn_tf.files import read_arrays

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_GREY_MODES = ("1", "L", "LA", "La", "F")


class PictureError(UserError):
    """A picture that cannot be read; `cause` says why, without the file's name."""

    def __init__(self, path: str | os.PathLike, cause: str):
        super().__init__(f"{path} cannot be read: {cause}")
        self.cause = cause


class SizeError(UserError):
    """A picture of another size than those that can be used."""

    def __init__(self, name: str | os.PathLike, picture: Image.Image, sides: Sequence[int]):
        right = " or ".join(f"{side} x {side}" for side in sides)
        super().__init__(
            f"{name} has {picture.width} x {picture.height} pixels, not {right}: "
            "give one of that size"
        )


def read_picture(path: str | os.PathLike) -> Image.Image:
    """A picture in 8 bits: upright by its EXIF orientation, white where it is transparent.

    16 bits are scaled to 8.

    Args:
        path: a file of any format that Pillow reads.

    Returns:
        a `PIL.Image` of mode "L", for pictures stored as greys, or "RGB".

    Raises:
        PictureError: the file cannot be read, or is damaged; one line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "clear.png")
        ...     Image.new("RGBA", (4, 2), (255, 0, 0, 0)).save(path)  # wholly transparent
        ...     picture = read_picture(path)
        >>> picture.mode, picture.size, picture.getpixel((0, 0))
        ('RGB', (4, 2), (255, 255, 255))
    """
    try:
        with Image.open(path) as picture:
            picture = ImageOps.exif_transpose(picture)
            picture.load()
            return _in_8_bits(picture)
    except MemoryError:
        raise
    except UnidentifiedImageError:
        cause = "not a picture"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        cause = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    except Exception:  # a damaged file can raise almost anything, in its EXIF data mostly
        cause = "it, or its EXIF data, is damaged"
    raise PictureError(path, cause)


def crop_square(picture: Image.Image, side: int | None = None) -> Image.Image:
    """The centred square of a picture.

    Args:
        picture: of any size.
        side: side of the square; None, or more than the shorter side, means the largest square.

    Example:
        >>> crop_square(Image.new("L", (10, 6))).size
        (6, 6)
        >>> crop_square(Image.new("L", (10, 6)), side=4).size
        (4, 4)
    """
    side = min(*picture.size, side or max(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def load(
    path: str | os.PathLike,
    shape: tuple[int, int, int],
    resize: bool = False,
    also_sizes: Sequence[int] = (),
    also_grey: bool = False,
) -> list[np.ndarray]:
    """Pictures from a file, a folder or an .npz.

    Args:
        path: a picture, a folder with pictures (taken in the order of their names), or an .npz with
            an array `images`, uint8 [N, H, W, C].
        shape: (S, S, C) of the network's images.
        resize: whether pictures of other sizes are cropped to a centred square and resized.
        also_sizes: other sides that are right as well as S.
        also_grey: whether grey pictures are right for C = 3 too.

    Returns:
        list of uint8 [S, S, C], at least one; [S, S, 1] for grey pictures with `also_grey`, other
        sides by `also_sizes`.

    Raises:
        SizeError: a picture has another size, without `resize`.
        UserError: a picture cannot be read, or has the wrong channels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (20, 10)).save(Path(folder, "wide.png"))
        ...     pictures = load(folder, (8, 8, 1), resize=True)
        >>> [picture.shape for picture in pictures]
        [(8, 8, 1)]
    """
    named = _read_all(Path(path).expanduser())
    return [_fit(name, picture, shape, resize, also_sizes, also_grey) for name, picture in named]


def _in_8_bits(picture):
    """A picture in mode L or RGB, over white."""
    if picture.mode.startswith("I"):
        return _from_16_bits(picture)
    mode = "L" if picture.mode in _GREY_MODES else "RGB"
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert(mode)


def _from_16_bits(picture):
    """A picture of 16-bit greys in 8 bits; Pillow's own conversion would make most of it white."""
    values = np.asarray(picture)
    pixels = np.round(np.clip(values / 257, 0, 255)).astype(np.uint8)
    pixels[values == picture.info.get("transparency", -1)] = 255
    return Image.fromarray(pixels)


def _read_all(path):
    """(name, picture) of each."""
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not paths:
            raise UserError(f"no pictures ({' '.join(SUFFIXES)}) in {path}")
        return [(file, read_picture(file)) for file in paths]
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
    if not len(images):
        raise UserError(f"{path} has no images")
    return [Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in images]


def _fit(name, picture, shape, resize, also_sizes, also_grey):
    """The pixels of a picture in the size and the channels wanted, or what is wrong with them."""
    size, _, channels = shape
    if picture.width != picture.height or picture.width not in (size, *also_sizes):
        if not resize:
            raise SizeError(name, picture, [size, *also_sizes])
        picture = crop_square(picture).resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture)
    if pixels.ndim == 2:
        if channels == 3 and not also_grey:
            raise UserError(f"{name} is grey, and the network draws colour: convert it to RGB")
        return pixels[:, :, None]
    if channels == 1:
        if np.any(pixels != pixels[:, :, :1]):
            raise UserError(f"{name} has colours, and the network draws grey: convert it to grey")
        return pixels[:, :, :1]
    return pixels
