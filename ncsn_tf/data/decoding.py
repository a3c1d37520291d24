"""One picture of a file, or of bytes, as pixels: the one rule by which all pictures are read.

Training images of a folder and of TensorFlow Datasets, pictures to complete and masks come through
here. A picture is turned upright by its EXIF orientation, laid over white where it is transparent
(masks: over black), brought to 8 bits, and of an animation the first frame is taken. The files
may come from anywhere: what is read of them is limited in bytes and in pixels, and only formats
for which Pillow has a decoder of its own are read (not EPS, for which it starts Ghostscript).
"""

import functools
import io
import os
import stat
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ncsn_tf.data.crops import centred_box
from ncsn_tf.errors import UserError

# Of what is made of a picture here. With any change of it, the number goes up: images that were
# prepared by another rule are prepared anew.
RULE = 1
MAX_BYTES = 2**30  # of one file
MAX_PIXELS = 2**29 // 3  # of one picture, whose RGB is then half a GiB
# The endings of files that are taken for pictures in a folder.
SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
# The content decides, and not the ending: as Pillow names its formats.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"),
)
_PHOTOMETRIC = 262  # a tag of TIFF: 0 where 0 is white
_GREY_MODES = ("1", "L", "LA", "La", "F")

# What Pillow says by Python warnings: its own limit, which is half of `MAX_PIXELS`, and damage
# beside the pixels (EXIF data, frames after the first), which changes nothing of what is read.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class PictureError(UserError):
    """A picture that cannot be read; `cause` says why, without the file's name."""

    def __init__(self, path: str | os.PathLike, cause: str):
        super().__init__(f"{path} cannot be read: {cause}")
        self.cause = cause


def read_picture(path: str | os.PathLike, background: str = "white") -> Image.Image:
    """The picture of a file, in 8 bits: upright by its EXIF orientation, without transparency.

    16 bits are scaled to 8. Of an animation, or of several pages, the first is taken.

    Args:
        path: a file of AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PNM, TIFF or WebP, whatever its name
            ends with.
        background: "white" or "black", which is seen where the picture is transparent.

    Returns:
        a `PIL.Image` of mode "L", for pictures stored as greys, or "RGB".

    Raises:
        PictureError: the file cannot be read, is damaged, or has more than `MAX_BYTES` or
            `MAX_PIXELS`; one line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "clear.png")
        ...     Image.new("RGBA", (4, 2), (255, 0, 0, 0)).save(path)  # wholly transparent
        ...     picture = read_picture(path)
        >>> picture.mode, picture.size, picture.getpixel((0, 0))
        ('RGB', (4, 2), (255, 255, 255))
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for what it brings
            raise PictureError(path, "not a file")
        check_bytes(status.st_size, path)
        with open(path, "rb") as file:
            return _decode(file, path, background)
    except (OSError, ValueError) as error:  # a ValueError: a path with a null character
        raise PictureError(path, getattr(error, "strerror", None) or str(error)) from None


def decode_picture(content: bytes, name: str = "the picture") -> Image.Image:
    """The picture that bytes hold, as `read_picture` reads that of a file.

    Args:
        content: what a file of a picture would hold.
        name: for the message of an error.

    Raises:
        PictureError: as of `read_picture`.

    Example:
        >>> decode_picture(b"P5 2 1 255 ab").size  # a PGM
        (2, 1)
    """
    check_bytes(len(content), name)
    return _decode(io.BytesIO(content), name, "white")


def check_bytes(number: int, name: str | os.PathLike) -> None:
    """Raise a `PictureError` if a file of that many bytes is too large for a picture."""
    if number > MAX_BYTES:
        raise PictureError(name, _too_much(number, "bytes", MAX_BYTES))


def fitted(
    picture: Image.Image,
    size: tuple[int, int],
    crop_size: int = 0,
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """A picture in another size: its centred rectangle of that shape, resized, antialiased.

    Args:
        picture: of any size.
        size: (H, W) of the result.
        crop_size: shorter side of the rectangle, see `crops.centred_box`; 0 means the largest.
        resampling: Pillow's filter.

    Example:
        >>> fitted(Image.new("L", (10, 6)), size=(4, 4)).size
        (4, 4)
    """
    height, width = size
    top, left, rows, columns = centred_box(picture.height, picture.width, size, crop_size)
    picture = picture.crop((left, top, left + columns, top + rows))
    return picture.resize((width, height), resampling)


def fitted_pixels(
    picture: Image.Image, image_shape: tuple[int, int, int], crop_size: int = 0
) -> np.ndarray:
    """A picture as an image of a data set: `fitted`, uint8 [H, W, C].

    Args:
        picture: of mode "L" or "RGB".
        image_shape: (H, W, C) of the result; C = 1 makes colours grey, 3 makes greys RGB.
        crop_size: see `fitted`.

    Example:
        >>> fitted_pixels(Image.new("RGB", (10, 6), (9, 9, 9)), (2, 3, 1)).ravel().tolist()
        [9, 9, 9, 9, 9, 9]
    """
    height, width, channels = image_shape
    picture = fitted(in_channels(picture, channels), (height, width), crop_size)
    return np.asarray(picture).reshape(image_shape)


def in_channels(picture: Image.Image, channels: int) -> Image.Image:
    """A picture of mode "L" or "RGB" in 1 or 3 channels; grey is the luminance.

    Example:
        >>> in_channels(Image.new("L", (1, 1), 7), channels=3).getpixel((0, 0))
        (7, 7, 7)
    """
    return picture.convert("L" if channels == 1 else "RGB")


@functools.cache
def _formats():
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # those that Pillow was built for


def _decode(file: BinaryIO, name, background):
    """The picture that an open file holds."""
    try:
        with Image.open(file, formats=_formats()) as picture:
            num_pixels = picture.width * picture.height
            if num_pixels > MAX_PIXELS:
                raise PictureError(name, _too_much(num_pixels, "pixels", MAX_PIXELS))
            picture.load()
            deep = picture.mode.startswith("I")
            is_negative = (
                deep and picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0
            )
            picture = ImageOps.exif_transpose(picture)
            if deep:
                return _from_16_bits(picture, background, is_negative)
            return _in_8_bits(picture, background)
    except PictureError:
        raise
    except UnidentifiedImageError:
        cause = "not a picture"
    except Image.DecompressionBombError:
        cause = f"it has more than {MAX_PIXELS:,} pixels"
    except MemoryError:  # no fault of the picture: another day it can be read
        raise
    except (OSError, SyntaxError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        if cause.startswith("decoder error"):  # and a number that says no more
            cause = "it is damaged"
    except Exception:  # a damaged file can raise almost anything, in its EXIF data mostly
        cause = "it, or its EXIF data, is damaged"
    raise PictureError(name, cause or "it is damaged")


def _too_much(number, unit, most):
    return f"its {number:,} {unit} are more than {most:,}"


def _in_8_bits(picture, background):
    """A picture in mode L or RGB, over the background."""
    mode = "L" if picture.mode in _GREY_MODES else "RGB"
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, background), picture)
    return picture if picture.mode == mode else picture.convert(mode)


def _from_16_bits(picture, background, is_negative):
    """A picture of 16-bit greys in 8 bits; Pillow's own conversion would make most of it white."""
    values = np.asarray(picture)
    if is_negative:  # a TIFF whose 0 is white; Pillow knows of it in 8 bits only
        values = 65535 - values
    pixels = np.round(np.clip(values / 257, 0, 255)).astype(np.uint8)
    pixels[values == picture.info.get("transparency", -1)] = 0 if background == "black" else 255
    return Image.fromarray(pixels)
