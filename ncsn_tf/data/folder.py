"""A folder of pictures as a data set."""

import os
from collections.abc import Sequence
from concurrent import futures

import numpy as np
from absl import logging
from PIL import Image
from tqdm import tqdm

from ncsn_tf.data.pictures import SUFFIXES, PictureError, crop_square, read_picture
from ncsn_tf.data.source import Source, from_arrays
from ncsn_tf.errors import UserError

_HELD_OUT = 20  # one picture in 20 is for test
_FILES_NAMED = 20


def load(split: str, data_dir: str, image_size: int, channels: int, crop_size: int) -> Source:
    """Every picture below a folder, decoded once; every 20th in sorted order is for test.

    Arguments are those of `sources.load_source`. Files that cannot be read are left out, with a
    warning.

    Raises:
        UserError: no folder, or no picture in it that can be read.
    """
    if not data_dir:
        raise UserError("image_folder needs data_dir, the folder with the pictures")
    if not os.path.isdir(data_dir):
        raise UserError(f"data_dir {data_dir!r} is not a folder")
    paths = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(data_dir)
        for name in names
        if name.lower().endswith(SUFFIXES)
    )
    if not paths:
        raise UserError(f"no pictures ({' '.join(SUFFIXES)}) in {data_dir!r}")
    if len(paths) > 1:
        test = set(paths[::_HELD_OUT])
        paths = [path for path in paths if (path in test) == (split == "test")]
    pixels, unreadable = _read_all(paths, image_size, channels, crop_size)
    for path, cause in unreadable[:_FILES_NAMED]:
        logging.warning("picture left out, unreadable: %s (%s)", path, cause)
    if len(unreadable) > _FILES_NAMED:
        logging.warning("and %d more", len(unreadable) - _FILES_NAMED)
    if not len(pixels):
        raise UserError(f"none of the {len(paths)} {split} pictures in {data_dir!r} can be read")
    if unreadable:
        logging.warning("%d of %d pictures are unreadable", len(unreadable), len(paths))
    return from_arrays(pixels, name=f"image_folder {data_dir}")


def _read_all(paths: Sequence[str], image_size, channels, crop_size):
    """The readable pictures, uint8 [N, H, W, C], and (path, cause) of each unreadable file."""
    pixels = np.empty([len(paths), image_size, image_size, channels], np.uint8)
    unreadable = {}

    def read(index):
        try:
            pixels[index] = _read(paths[index], image_size, channels, crop_size)
        except PictureError as error:
            unreadable[index] = error.cause

    with futures.ThreadPoolExecutor() as pool:
        list(tqdm(pool.map(read, range(len(paths))), "pictures", len(paths), disable=None))
    if unreadable:
        pixels = np.delete(pixels, sorted(unreadable), axis=0)
    return pixels, [(paths[index], unreadable[index]) for index in sorted(unreadable)]


def _read(path, image_size, channels, crop_size):
    """One picture's centred square, resized by Lanczos: uint8 [image_size, image_size, C]."""
    picture = read_picture(path).convert("L" if channels == 1 else "RGB")
    square = crop_square(picture, crop_size or None)
    square = square.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(image_size, image_size, channels)
