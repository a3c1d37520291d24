"""Pictures on disk: grids, single files and movies of samples.

The ending of a path decides the format of its file.
"""

import io
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ncsn_tf.files import require_ending, write_atomically

# What Pillow writes for each ending: a format and its options.
PICTURES = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
MOVIES = {".gif": {"format": "GIF"}, ".webp": {"format": "WEBP", "lossless": True}}

_SMALLEST_GRID = 512  # pixels: grids of tiny images are enlarged to be seen
_GAP = 1  # pixels of grey between the images of a grid
_GREY = 96


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Float [0, 1] -> uint8 as `sampling.to_uint8`, on the host.

    Example:
        >>> to_uint8(np.array([-1.0, 0.0, 0.25, 1.0, 7.0])).tolist()
        [0, 0, 64, 255, 255]
    """
    return np.round(np.clip(images, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Lay images out in a grid, row by row, one pixel of grey between them.

    Args:
        images: uint8 [N, H, W, C].
        columns: images in a row; None makes the grid nearly square.

    Returns:
        uint8 [rows * (H + 1) - 1, columns * (W + 1) - 1, C]; places without an image are grey.

    Example:
        >>> grid(np.zeros([5, 8, 8, 3], np.uint8)).shape  # 2 rows of 3
        (17, 26, 3)
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * columns, height + _GAP, width + _GAP, channels), _GREY, np.uint8)
    canvas[:count, :height, :width] = images
    canvas = canvas.reshape(rows, columns, *canvas.shape[1:]).transpose(0, 2, 1, 3, 4)
    canvas = canvas.reshape(rows * (height + _GAP), columns * (width + _GAP), channels)
    return canvas[:-_GAP, :-_GAP]


def save_grid(path: str | os.PathLike, images: np.ndarray) -> None:
    """Write a grid of uint8 [N, H, W, C]; images of few pixels are enlarged by a factor."""
    save_picture(path, grid(images))


def save_picture(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write uint8 [H, W, C] as one of `PICTURES`; few pixels are enlarged by a factor.

    Raises:
        ConfigError: the path has another ending.
        UserError: the place cannot be written.
    """
    kind = PICTURES[require_ending(path, PICTURES)]
    picture = _enlarged(image)
    write_atomically(path, lambda temporary: picture.save(temporary, **kind))


def png(image: np.ndarray) -> bytes:
    """The PNG of uint8 [H, W, C], in its own size.

    Example:
        >>> png(np.zeros([8, 8, 3], np.uint8))[1:4]
        b'PNG'
    """
    file = io.BytesIO()
    _picture(image).save(file, format="PNG", optimize=True)
    return file.getvalue()


def rows_grid(rows: Sequence[np.ndarray]) -> np.ndarray:
    """One picture of rows of uint8 [n, H, W, C], grey where a row is shorter: uint8 [H', W', C].

    Example:
        >>> rows_grid([np.zeros([3, 8, 8, 1], np.uint8), np.zeros([2, 8, 8, 1], np.uint8)]).shape
        (17, 26, 1)
    """
    width = max(len(row) for row in rows)
    canvas = np.full((len(rows), width, *rows[0].shape[1:]), _GREY, np.uint8)
    for place, row in zip(canvas, rows, strict=True):
        place[: len(row)] = row
    return grid(canvas.reshape(-1, *canvas.shape[2:]), width)


def save_rows(path: str | os.PathLike, rows: Sequence[np.ndarray]) -> None:
    """Write rows of uint8 [n, H, W, C] below each other, see `rows_grid`."""
    save_picture(path, rows_grid(rows))


def save_columns(path: str | os.PathLike, columns: Sequence[np.ndarray]) -> None:
    """Write columns of uint8 [n, H, W, C] side by side; the last may be a shorter one."""
    height = len(columns[0])
    canvas = np.full((height, len(columns), *columns[0].shape[1:]), _GREY, np.uint8)
    for place, column in enumerate(columns):
        canvas[: len(column), place] = column
    save_picture(path, grid(canvas.reshape(-1, *canvas.shape[2:]), len(columns)))


def save_singles(folder: str | os.PathLike, images: np.ndarray, names: Iterable[str]) -> None:
    """Write each image of uint8 [N, H, W, C] as folder/<name>.png, in its own size."""
    for image, name in zip(images, names, strict=True):
        picture = _picture(image)
        write_atomically(
            Path(folder) / f"{name}.png",
            lambda temporary, picture=picture: picture.save(temporary, format="PNG"),
        )


def save_movie(path: str | os.PathLike, frames: Iterable[np.ndarray], seconds: float = 8.0) -> None:
    """Write uint8 grids [H, W, C] as an animation that rests on its last frame; enlarged.

    Raises:
        ConfigError: the path does not end with one of `MOVIES`.
        UserError: the place cannot be written.
    """
    kind = MOVIES[require_ending(path, MOVIES)]
    pictures = [_enlarged(frame) for frame in frames]
    write_atomically(path, lambda temporary: _write_movie(temporary, pictures, seconds, kind))


def gif(frames: Iterable[np.ndarray], seconds: float = 8.0) -> bytes:
    """The GIF of uint8 grids [H, W, C], in their own size, as `save_movie` writes it."""
    file = io.BytesIO()
    _write_movie(file, [_picture(frame) for frame in frames], seconds, MOVIES[".gif"])
    return file.getvalue()


def _write_movie(file, pictures, seconds, kind):
    if kind["format"] == "GIF":
        pictures = [picture.convert("P", palette=Image.Palette.ADAPTIVE) for picture in pictures]
    duration = max(20, round(1000 * seconds / len(pictures)))
    pictures[0].save(
        file,
        **kind,
        save_all=True,
        append_images=pictures[1:],
        duration=[duration] * (len(pictures) - 1) + [2000],
        loop=0,
    )


def _picture(image):
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _enlarged(image):
    factor = max(1, _SMALLEST_GRID // max(image.shape[:2]))
    picture = _picture(image)
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)
