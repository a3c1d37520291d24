"""Pictures that a user names, as arrays of the size that a network takes."""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ncsn_tf.condition_options import FILL_FROM, MASKS
from ncsn_tf.errors import ConfigError, UserError

# What reading a damaged picture or .npz, or something else by that name, can raise.
DAMAGED = (
    *(AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)
_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def load(path, shape, resize=False, also_sizes=(), also_grey=False):
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
        UserError: a picture cannot be read, or has the wrong size or channels.
    """
    path = Path(path).expanduser()
    pictures = []
    for name, picture in _open_all(path):
        pictures.append(_fit(name, picture, shape, resize, also_sizes, also_grey))
    return pictures


def load_mask(mask, size, resize=False):
    """Which pixels are to be filled: bool [size, size].

    Args:
        mask: "left", "right", "top", "bottom" (that half), "center" (a square of half the side),
            "random" (half of the pixels, always the same), or the path of a picture, in which what
            is nearer to white than to black is to be filled.
        size: side of the images.
        resize: whether a picture of another size is resized.

    Raises:
        ConfigError: the mask leaves nothing to fill.
        UserError: the picture cannot be read, or has the wrong size.
    """
    unknown = np.zeros([size, size], bool)
    half, quarter = size // 2, size // 4
    if mask in MASKS:
        if mask == "random":
            return np.random.RandomState(0).permutation(size * size).reshape(size, size) % 2 == 0
        places = {
            "left": np.s_[:, :half],
            "right": np.s_[:, half:],
            "top": np.s_[:half],
            "bottom": np.s_[half:],
            "center": np.s_[quarter : quarter + half, quarter : quarter + half],
        }
        unknown[places[mask]] = True
        return unknown
    path = Path(mask).expanduser()
    if not path.exists():
        raise UserError(f"--mask={mask} is neither a file nor one of {', '.join(MASKS)}")
    picture = _open(path).convert("L")
    if picture.size != (size, size):
        if not resize:
            raise UserError(_wrong_size(path, picture, [size]))
        picture = picture.resize((size, size), Image.Resampling.NEAREST)
    unknown = np.asarray(picture) >= FILL_FROM
    if not unknown.any():
        raise ConfigError(f"--mask={mask} leaves nothing to fill: white is what is to be filled")
    return unknown


def _open_all(path):
    """(name, picture) of each."""
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
        if not paths:
            raise UserError(f"no pictures ({' '.join(_SUFFIXES)}) in {path}")
        return [(file, _open(file)) for file in paths]
    if path.suffix.lower() == ".npz":
        return [(f"image {i} of {path}", picture) for i, picture in enumerate(_arrays(path))]
    return [(path, _open(path))]


def _open(path):
    try:
        with Image.open(path) as picture:
            picture = ImageOps.exif_transpose(picture)
            picture.load()
    except UnidentifiedImageError:
        raise UserError(f"{path} cannot be read: not a picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        cause = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(f"{path} cannot be read: {cause}") from None
    except DAMAGED:  # what Pillow stumbles over in EXIF data, mostly
        raise UserError(f"{path} cannot be read: it, or its EXIF data, is damaged") from None
    if picture.mode.startswith("I"):
        return _from_16_bits(picture)
    if "A" in picture.getbands() or "transparency" in picture.info:
        is_grey = _is_grey(picture)
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert("L" if is_grey else "RGB")
    return picture.convert("L" if _is_grey(picture) else "RGB")


def _from_16_bits(picture):
    """A picture of 16-bit greys in 8 bits; Pillow's own conversion would make most of it white."""
    values = np.asarray(picture)
    pixels = np.round(np.clip(values / 257, 0, 255)).astype(np.uint8)
    pixels[values == picture.info.get("transparency", -1)] = 255
    return Image.fromarray(pixels)


def _is_grey(picture):
    return picture.mode in ("1", "L", "LA", "La", "F")


def _arrays(path):
    try:
        with np.load(path) as arrays:
            images = arrays["images"]
    except (AttributeError, TypeError):  # an .npy by another name
        raise UserError(f"{path} cannot be read: not an .npz") from None
    except DAMAGED as error:
        cause = getattr(error, "strerror", None) or str(error).strip("'\"").partition("\n")[0]
        raise UserError(f"{path} cannot be read: {cause}") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f"{path} must have images as uint8 [N, H, W, 1 or 3], not {images.dtype} "
            f"{list(images.shape)}"
        )
    if not len(images):
        raise UserError(f"{path} has no images")
    return [Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in images]


def _fit(name, picture, shape, resize, also_sizes, also_grey):
    size, _, channels = shape
    if picture.size[0] != picture.size[1] or picture.size[0] not in (size, *also_sizes):
        if not resize:
            raise UserError(_wrong_size(name, picture, [size, *also_sizes]))
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
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


def _wrong_size(name, picture, sides):
    right = " or ".join(f"{side} x {side}" for side in sides)
    return (
        f"{name} has {picture.width} x {picture.height} pixels, not {right}: "
        "give one of that size, or --resize"
    )
