"""Sets of images to be measured or compared with: files of shards, or any program's."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ncsn_tf.data.decoding import in_channels, read_picture
from ncsn_tf.data.listing import find_pictures
from ncsn_tf.errors import UserError, warn
from ncsn_tf.evaluation.quality.image_sets import ArrayImages, Images
from ncsn_tf.files import array_headers, digest, is_array, map_array, read_arrays, user_path

_USUAL = ("images", "samples", "arr_0", "x", "data")  # what an array of images is called
_BLOCK = 256  # images that are read together
_WHAT = "an .npz with images as uint8 [N, H, W, C]"


class FileImages:
    """`Images` of .npz files, each with some of them as `images`.

    Args:
        paths: the files, at least one.
        name: for messages.

    Raises:
        UserError: a file cannot be read, or holds no images, or such of another shape.
    """

    def __init__(self, paths: Sequence[Path], name: str):
        self._paths = list(paths)
        self.name = name
        shapes = [_shape(path) for path in self._paths]
        for path, shape in zip(self._paths, shapes, strict=True):
            if shape[1:] != shapes[0][1:]:
                raise UserError(f"{path} holds images of another size than {self._paths[0]}")
        self._counts = [shape[0] for shape in shapes]
        self.count = sum(self._counts)
        self.shape = shapes[0][1:]

    def blocks(self, start: int) -> Iterable[np.ndarray]:
        """See `Images`."""
        for path, count in zip(self._paths, self._counts, strict=True):
            if start < count:
                yield read_arrays(path, ["images"], _WHAT)["images"][start:]
            start = max(0, start - count)

    def fingerprint(self) -> str:
        """See `Images`: by the files' names, sizes and times."""
        return digest(_stamp(path) for path in self._paths)


class PictureImages:
    """`Images` of a folder of pictures of one size, in the order of their names.

    Args:
        folder: it and the folders in it are looked through.
        channels: 1 or 3, to which pictures are converted; 0 is 1 if all of the first pictures that
            are looked at are stored as greys, else 3.

    Raises:
        UserError: there are none, or one cannot be read.
    """

    def __init__(self, folder: str | os.PathLike, channels: int = 0):
        found = find_pictures(folder)
        for line in found.left_out:
            warn(f"left out of {folder}: {line}")
        if not found.paths:
            raise UserError(f"no pictures, and no seeds-*.npz of ncsn sample --shard, in {folder}")
        self._paths = found.paths
        self.name = str(folder)
        self.count = len(self._paths)
        first = read_picture(self._paths[0])
        self._channels = channels or (1 if first.mode == "L" else 3)
        self.shape = (first.height, first.width, self._channels)

    def blocks(self, start: int) -> Iterable[np.ndarray]:
        """See `Images`."""
        for first in range(start, self.count, _BLOCK):
            yield np.stack([self._read(path) for path in self._paths[first : first + _BLOCK]])

    def _read(self, path):
        picture = read_picture(path)
        if (picture.height, picture.width) != self.shape[:2]:
            size, wanted = (
                f"{h}x{w}" for h, w in ((picture.height, picture.width), self.shape[:2])
            )
            raise UserError(f"{path} has {size} pixels, the first picture of the folder {wanted}")
        return np.asarray(in_channels(picture, self._channels)).reshape(self.shape)

    def fingerprint(self) -> str:
        """See `Images`: by the files' names, sizes and times."""
        channels = str(self._channels).encode()
        return digest([channels, *(_stamp(path) for path in self._paths)])


def open_images(path: str | os.PathLike, channels: int = 0) -> Images:
    """The images that a user names, of whatever program.

    Args:
        path: a folder of pictures, or of what `ncsn sample --shard` wrote; or an .npz with an array
            uint8 [N, H, W, C] or [N, H, W], `images`, `samples`, `arr_0` or the only such one; or a
            .npy of it.
        channels: to which pictures are converted, see `PictureImages`.

    Raises:
        UserError: they cannot be read; one line.
    """
    place = user_path(path)
    if os.path.isdir(place):
        blocks = sorted(place.glob("seeds-*.npz"))
        return FileImages(blocks, str(path)) if blocks else PictureImages(place, channels)
    if not os.path.isfile(place):
        raise UserError(f"{path} is not a file or a folder")
    if is_array(place):
        array, title = map_array(place), str(path)
    else:
        name = _array_name(place)
        array, title = read_arrays(place, [name])[name], f"{name} of {path}"
    if array.ndim == 3:
        array = array[..., None]
    _require_images(title, array.shape, array.dtype)
    return ArrayImages(array, str(path))


def _array_name(path):
    """What the array of images in an .npz is called."""
    headers = array_headers(path)
    like = [
        name
        for name, (shape, dtype) in headers.items()
        if len(shape) in (3, 4) and dtype == np.uint8
    ]
    known = [name for name in _USUAL if name in like] or like
    if known and (known[0] in _USUAL or len(known) == 1):
        return known[0]
    listed = ", ".join(f"{name} {dtype} {list(shape)}" for name, (shape, dtype) in headers.items())
    raise UserError(
        f"{path} must have images as one array of uint8 [N, H, W, C], such as `images`, "
        f"`samples` or `arr_0`: it has {listed or 'no arrays'}"
    )


def _require_images(title, shape, dtype):
    if dtype == np.uint8 and len(shape) == 4 and shape[3] in (1, 3) and min(shape) > 0:
        return
    hint = ""
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        hint = ": save images.transpose(0, 2, 3, 1)"
    raise UserError(f"{title} must be uint8 [N, H, W, 1 or 3], not {dtype} {list(shape)}{hint}")


def _shape(path):
    """[n, H, W, C] of the images in a block's file, which are not read."""
    headers = array_headers(path)
    if "images" not in headers:
        raise UserError(f"{path} is not {_WHAT}")
    shape, dtype = headers["images"]
    _require_images(f"images of {path}", shape, dtype)
    return shape


def _stamp(path):
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    name = os.path.basename(path)
    return f"{name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape")
