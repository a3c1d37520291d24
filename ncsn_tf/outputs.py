"""What sample.py writes: one grid, single PNGs, or arrays; and movies of chains."""

import errno
import os
from pathlib import Path

import numpy as np

from ncsn_tf import images
from ncsn_tf.errors import UserError


class Singles:
    """PNG files named by seed, written as they come."""

    def __init__(self, target):
        self.target = target

    def add(self, seeds, pictures):
        """Take uint8 [N, H, W, C] for N seeds, in any order."""
        images.save_singles(self.target, pictures, [f"{seed:06d}" for seed in seeds])

    def close(self):
        """Write what is left to write; returns the path of it all."""
        return self.target


class _Collected:
    """Everything in one file, written at the end, in the order of the seeds."""

    def __init__(self, target):
        self.target = target
        self._parts = []

    def add(self, seeds, pictures):
        """Take uint8 [N, H, W, C] for N seeds, in any order."""
        self._parts.append((seeds, pictures))

    def close(self):
        """Write what is left to write; returns the path of it all."""
        seeds, pictures = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.argsort(seeds)
        self._write(seeds[order], pictures[order])
        return self.target


class Grid(_Collected):
    """One PNG with all images."""

    def _write(self, seeds, pictures):
        images.save_grid(self.target, pictures)


class Completions(Grid):
    """One PNG, a row for each input that was completed: the input, then its completions.

    Image i is a completion of input i modulo their number; inputs without one are left out.
    """

    def __init__(self, target, inputs):
        super().__init__(target)
        self._inputs = inputs

    def _write(self, seeds, pictures):
        num_inputs = min(len(self._inputs), len(pictures))
        columns = [self._inputs[:num_inputs]]
        for start in range(0, len(pictures), num_inputs):
            columns.append(pictures[start : start + num_inputs])
        images.save_columns(self.target, columns)


class Arrays(_Collected):
    """An .npz of `images`, uint8 [N, H, W, C], and `seeds`, int64 [N]."""

    def _write(self, seeds, pictures):
        def write(temporary):
            with open(temporary, "wb") as file:
                np.savez_compressed(file, images=pictures, seeds=seeds)

        images.write_atomically(self.target, write)


def check_place(path):
    """Raise a UserError if a file of that path cannot be written, as far as its folders tell.

    For before the work: nothing is written, and folders that are missing are not made.
    """
    path = Path(path)
    folder = next(filter(os.path.lexists, path.absolute().parents), path)
    if path.is_dir():
        cause = errno.EISDIR
    elif not folder.is_dir():
        cause = errno.ENOTDIR
    elif not os.access(folder, os.W_OK | os.X_OK):
        cause = errno.EACCES
    else:
        return
    raise UserError(f"{path} cannot be written: {os.strerror(cause)}")


def save_movie(path, frames):
    """Write a chain, a list of uint8 [N, H, W, C], as an animated GIF of grids."""
    images.save_movie(path, [images.grid(frame) for frame in frames])


BY_FORMAT = {"grid": Grid, "png": Singles, "npz": Arrays}
