"""Pictures become rows of pixels, in this process or in others that know nothing of TensorFlow.

Another process is started with `start_worker` and asked with `fill_rows`: it reads and decodes a
part of the pictures and writes their rows into the file itself, so that only what went wrong comes
back.
"""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ncsn_tf.data.collection import Collection
from ncsn_tf.data.decoding import PictureError, decode_picture, fitted_pixels

_LOOK_EVERY = 0.5  # seconds between two looks at whether the parent is there


@dataclasses.dataclass(frozen=True)
class Work:
    """What a process must know to fill rows of a file.

    Attributes:
        path: the file.
        offset: where its first row begins, in bytes.
        image_shape: (H, W, C) of a row.
        crop_size: as in `decoding.fitted_pixels`.
        collection: the pictures; None where their bytes come with each part.
    """

    path: str
    offset: int
    image_shape: tuple[int, int, int]
    crop_size: int
    collection: Collection | None


def decode_rows(
    read: Callable[[int], Image.Image],
    places: Sequence[int],
    image_shape: tuple[int, int, int],
    crop_size: int,
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Pictures as rows of pixels.

    Args:
        read: the picture of a place; raises a `PictureError`.
        places: those that are wanted, n of them.
        image_shape: (H, W, C).
        crop_size: as in `decoding.fitted_pixels`.

    Returns:
        uint8 [n, H, W, C], 0 where a picture cannot be read, and [(its place, why)].

    Example:
        >>> pixels, causes = decode_rows(lambda place: Image.new("L", (9, 9), place), [3, 4],
        ...                              (2, 2, 1), crop_size=0)
        >>> pixels[:, 0, 0, 0].tolist(), causes
        ([3, 4], [])
    """
    pixels, causes = np.zeros([len(places), *image_shape], np.uint8), []
    for row, place in enumerate(places):
        try:
            pixels[row] = fitted_pixels(read(place), image_shape, crop_size)
        except PictureError as error:
            causes.append((place, error.cause))
    return pixels, causes


_work: Work | None = None  # of this process, where it is one of `start_worker`


def start_worker(work: Work, parent: int) -> None:
    """Be a process that fills rows: called in it once, with its parent's number.

    Signals that ask for an end are the parent's to answer, also when the terminal sends them to
    both: it ends its workers. When the parent is gone, so that nobody does, they end by themselves.
    """
    global _work
    _work = work
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def fill_rows(start: int, stop: int, contents: Sequence[bytes] | None) -> list[tuple[int, str]]:
    """Decode the pictures of some places and write their rows into the file.

    Args:
        start, stop: the places are start to stop - 1.
        contents: their bytes; None where the collection has them.

    Returns:
        [(place, why)] of those that cannot be read.

    Raises:
        OSError: the file cannot be written.
    """
    work, places = _work, range(start, stop)
    read = work.collection.read if contents is None else _reader(start, contents)
    pixels, causes = decode_rows(read, places, work.image_shape, work.crop_size)
    with open(work.path, "r+b", buffering=0) as file:
        file.seek(work.offset + start * pixels[0].size)
        left = memoryview(pixels).cast("B")
        while left:
            left = left[file.write(left) :]  # a disk that is nearly full takes a part
    return causes


def _reader(start, contents):
    return lambda place: decode_picture(contents[place - start])


def _end_with(parent):
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os._exit(1)
