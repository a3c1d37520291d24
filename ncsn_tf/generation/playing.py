"""Images that are drawn while somebody watches, who can stop it; pictures that somebody painted on.

Nothing here knows of a page: it is what the page of `ncsn app` does.
"""

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ncsn_tf.backend.signals import Interrupted
from ncsn_tf.data.decoding import fitted, fitted_pixels, in_channels
from ncsn_tf.data.images import png
from ncsn_tf.errors import UserError
from ncsn_tf.files import digest, write_atomically
from ncsn_tf.generation.writing import Origin

MOST_PIXELS = 2**24  # of a picture that is painted on
_POLL = 0.2  # seconds between two looks at the chain


class Shown(NamedTuple):
    """What can be seen of a drawing.

    Attributes:
        pictures: uint8 [N, H, W, C], the images in the order of their seeds; before the end those
            of the chain, or those that have come; None where there are none yet.
        done, total: of what the origin counts.
        state: "drawing", "stopping" after the step that is under way, "done" or "stopped".
    """

    pictures: np.ndarray | None
    done: int
    total: int
    state: str


class _StopError(Exception):
    """The drawing was stopped."""


class Drawing:
    """Draws the images of seeds in a thread of its own, once.

    Args:
        origin: an `Origin`. Its `frames`, if it keeps any, are shown while it draws; its `close`,
            if it has one, is called when it is stopped.
        seeds: int64 [N].
    """

    def __init__(self, origin: Origin, seeds: np.ndarray) -> None:
        self._origin = origin
        self._seeds = np.asarray(seeds, np.int64)
        self._total = origin.amount(len(self._seeds))
        self._done = 0
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._stopped = threading.Event()
        self._ended: queue.Queue[BaseException | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def stop(self) -> None:
        """End it after the step that is under way; from any thread, at any time."""
        self._stopped.set()
        close = getattr(self._origin, "close", None)
        if close is not None:
            close()

    def shown(self) -> Iterator[Shown]:
        """Yield what is to be seen as it changes; the last is "done" or "stopped".

        Closing the generator stops the drawing and waits for it.

        Raises:
            Exception: what the origin raised.
        """
        self._thread.start()
        seen = None
        try:
            while self._thread.is_alive():
                self._thread.join(_POLL)
                news = self._done, "stopping" if self._stopped.is_set() else "drawing"
                if self._thread.is_alive() and news != seen:
                    seen = news
                    yield Shown(self._pictures(), seen[0], self._total, seen[1])
            error = self._ended.get()
            if error is not None and not self._stopped.is_set():
                raise error
            state = "done" if error is None else "stopped"
            yield Shown(self._pictures(state == "done"), self._done, self._total, state)
        finally:
            self.stop()
            self._thread.join()

    # What an origin does with its progress bar.

    def update(self, number: int = 1) -> None:
        """Count what was done."""
        self._done += number
        if self._stopped.is_set():
            raise _StopError

    def set_description(self, text: str) -> None:
        """Nothing: the page has its own words."""

    def set_postfix(self, **values: Any) -> None:
        """Nothing: the page has its own words."""

    def _work(self):
        try:
            if self._stopped.is_set():
                raise _StopError
            for part in self._origin.images(self._seeds, self):
                self._parts.append(part)
        except Interrupted as error:  # the process ends
            self._stopped.set()
            self._ended.put(error)
        except Exception as error:
            self._ended.put(error)
        else:
            self._ended.put(None)

    def _pictures(self, all_are_drawn=False):
        """The images that have come, or else the chain's state."""
        frames = getattr(self._origin, "frames", None)
        if frames and not all_are_drawn:
            return frames[-1]
        if not self._parts:
            return None
        seeds, pictures = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return pictures[np.argsort(seeds, kind="stable")]


def save_painted(
    folder: str | os.PathLike,
    picture: Image.Image | None,
    painted: np.ndarray | None,
    shape: tuple[int, int, int],
    crop_size: int = 0,
) -> tuple[Path, Path]:
    """Write a picture and the mask that was painted over it, in the size of a network's images.

    Args:
        folder: where they go. The names are by the content: the same again is the same
            files.
        picture: of any size and mode; None where there is none.
        painted: bool [H, W], of the picture's size: where it is to be filled.
        shape: (H, W, C) of the network's images.
        crop_size: that of the run, see `decoding.fitted`.

    Returns:
        the paths of the picture and of the mask, for --inpaint and --mask.

    Raises:
        UserError: there is no picture, it is too large, or nothing or all of it is painted over.

    Example:
        >>> import tempfile
        >>> painted = np.arange(16)[None] < np.full([16, 1], 8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_painted(folder, Image.new("L", (16, 16)), painted, (8, 8, 1))
        ...     [Image.open(path).size for path in paths]
        [(8, 8), (8, 8)]
    """
    if picture is None:
        raise UserError("there is no picture: upload one, or take one that the network draws")
    if picture.width * picture.height > MOST_PIXELS:
        raise UserError(
            f"the picture has {picture.width * picture.height:,} pixels, more than {MOST_PIXELS:,}"
        )
    if painted is None or not painted.any():
        raise UserError("nothing is painted: paint over what is to be filled")
    if painted.all():
        raise UserError("all is painted over: leave something that is known")
    size, channels = shape[:2], shape[2]
    mask = Image.fromarray(np.uint8(painted) * 255)
    if mask.size != picture.size:
        mask = mask.resize(picture.size, Image.Resampling.NEAREST)
    picture = in_channels(_opaque(picture), channels)
    factor = picture.height // size[0]
    if factor and (picture.height, picture.width) == (size[0] * factor, size[1] * factor):
        # An image that was enlarged to be painted on comes back as it was.
        pixels = np.asarray(picture.reduce(factor)).reshape(shape)
    else:
        pixels = fitted_pixels(picture, shape, crop_size)
    mask = fitted(mask, size, crop_size, Image.Resampling.NEAREST)
    files = png(pixels), png(np.asarray(mask)[:, :, None])
    name = digest(files)
    paths = Path(folder, f"{name}.png"), Path(folder, f"{name}-mask.png")
    for path, content in zip(paths, files, strict=True):
        write_atomically(path, lambda temporary, content=content: temporary.write_bytes(content))
    return paths


def _opaque(picture):
    """In mode L or RGB, over white, as pictures of files are read."""
    if picture.mode in ("L", "RGB"):
        return picture
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
