"""A folder of pictures as a data set."""

import os
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np
from tqdm import tqdm

from ncsn_tf.data.decoding import SUFFIXES, PictureError, read_picture, square_pixels
from ncsn_tf.data.listing import find_pictures
from ncsn_tf.data.source import Source, from_arrays
from ncsn_tf.errors import UserError, inform, warn

_HELD_OUT = 20  # one picture in 20 is for test
_NAMED = 20  # files that are named; of more, the number is said


def load(split: str, data_dir: str, image_size: int, channels: int, crop_size: int) -> Source:
    """Every picture below a folder, decoded once.

    The pictures in sorted order make blocks of 20, and the first of a block that can be read is for
    test: a file that is damaged later moves no picture of another block from one split to the
    other. Where that would leave nothing to train on, every 20th of all readable pictures is for
    test; a single one is for both. What is left out is said on stderr, with how many were found and
    read.

    Arguments are those of `sources.load_source`.

    Raises:
        UserError: no folder, or no picture in it that can be read.
    """
    if not data_dir:
        raise UserError("image_folder needs data_dir, the folder with the pictures")
    if not os.path.isdir(data_dir):
        raise UserError(f"data_dir {data_dir!r} is not a folder")
    found = find_pictures(data_dir)
    if not found.paths:
        but = f"; left out: {', '.join(found.left_out)}" if found.left_out else ""
        raise UserError(f"no pictures ({' '.join(SUFFIXES)}) in {data_dir!r}{but}")
    reader = _Reader(found.paths, (image_size, image_size, channels), crop_size)
    (chosen, pixels), num_read = (reader.train if split == "train" else reader.test)()
    if not len(chosen):
        path, cause = next(iter(reader.unreadable.items()))
        raise UserError(
            f"none of the {len(found.paths)} pictures in {data_dir!r} can be read: {path}: {cause}"
        )
    _say(data_dir, found, reader, split, len(chosen), num_read)
    return from_arrays(pixels, name=f"image_folder {data_dir}")


def _say(data_dir, found, reader, split, num_chosen, num_read):
    """What was found and read, and what was left out and why."""
    unreadable = sorted(reader.unreadable.items())
    for lines in (
        [f"left out of {data_dir}: {line}" for line in found.left_out],
        [f"picture left out, unreadable: {path} ({cause})" for path, cause in unreadable],
    ):
        for line in lines[:_NAMED]:
            warn(line)
        if len(lines) > _NAMED:
            warn(f"and {len(lines) - _NAMED} more")
    if reader.is_shared:
        warn(f"{data_dir} has one picture that can be read: it is for training and for test")
    bad = f", {len(unreadable)} unreadable" if unreadable else ""
    inform(
        f"{data_dir}: {len(found.paths)} picture{'s'[: len(found.paths) > 1]} found, "
        f"{num_read} read{bad}, {num_chosen} for {'training' if split == 'train' else 'test'}"
    )


class _Reader:
    """Reads pictures and remembers which of them cannot be read.

    Attributes:
        unreadable: {path: why}, of those that were tried.
        is_shared: whether one picture is for training and for test.
    """

    def __init__(self, paths: Sequence[str], image_shape: tuple[int, int, int], crop_size: int):
        self.paths = paths
        self.image_shape = image_shape
        self.crop_size = crop_size
        self.unreadable = {}
        self.is_shared = False

    def train(self):
        """((places in `paths`, pixels uint8 [N, H, W, C]) for training, pictures read)."""
        count = len(self.paths)
        pixels = np.empty([count, *self.image_shape], np.uint8)

        def read(place):
            values = self._read(place)
            if values is not None:
                pixels[place] = values
            return values is not None

        readable = np.flatnonzero(_in_parallel(read, range(count)))
        _, firsts = np.unique(readable // _HELD_OUT, return_index=True)
        chosen = np.delete(readable, firsts)
        if not len(chosen):
            chosen = self._rest(readable)
        for place, origin in enumerate(chosen):  # in place: the pictures may fill the memory
            pixels[place] = pixels[origin]
        return (chosen, pixels[: len(chosen)]), len(readable)

    def test(self):
        """As `train`, of the pictures for test; others are read only as far as need be."""
        count = len(self.paths)
        blocks = [range(start, count)[:_HELD_OUT] for start in range(0, count, _HELD_OUT)]

        def first(block):
            for place in block:
                values = self._read(place)
                if values is not None:
                    return place, values
            return block.stop, None

        firsts = _in_parallel(first, blocks)
        chosen = [(place, values) for place, values in firsts if values is not None]
        num_read = len(chosen)
        others = (
            place
            for block, (found, _) in zip(blocks, firsts, strict=True)
            for place in range(found + 1, block.stop)
        )
        if all(self._read(place) is None for place in others):  # no picture to train on
            chosen = chosen[::_HELD_OUT]
            self.is_shared = num_read == 1
        places = [place for place, _ in chosen]
        return (places, np.array([values for _, values in chosen], np.uint8)), num_read

    def _rest(self, readable):
        """What is for training of pictures of which none shares its block with another."""
        self.is_shared = len(readable) == 1
        return readable if self.is_shared else np.delete(readable, np.s_[::_HELD_OUT])

    def _read(self, place):
        """The pixels of one picture, uint8 [H, W, C]; None where it cannot be read."""
        path = self.paths[place]
        size, _, channels = self.image_shape
        try:
            return square_pixels(read_picture(path), size, channels, self.crop_size)
        except PictureError as error:
            self.unreadable[path] = error.cause
            return None


def _in_parallel(function: Callable, values: Sequence) -> list:
    """[function(value), ...] by several threads, with a progress bar."""
    with futures.ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(function, values), "pictures", len(values), disable=None))
