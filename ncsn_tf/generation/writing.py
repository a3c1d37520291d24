"""Samples become files: one grid, single PNGs, or arrays; and movies of chains."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from ncsn_tf.data import images
from ncsn_tf.files import check_place, save_arrays

FORMATS = ("grid", "png", "npz")


class Origin(Protocol):
    """Where images come from.

    Attributes:
        unit: what its progress bar counts.
        inputs: what is known of the pictures that are completed, uint8 [M, H, W, C]; None where
            there are none.
    """

    unit: str
    inputs: np.ndarray | None

    def amount(self, num_images: int) -> int:
        """Up to how many its progress bar counts for that many images."""

    def images(self, seeds: np.ndarray, bar: tqdm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (seeds [N], their images uint8 [N, H, W, C]) in any order until all are there."""


def check_places(
    first_seed: int,
    *,
    output: str | os.PathLike,
    format: str = "grid",
    movie: str | os.PathLike | None = None,
) -> None:
    """Raise a UserError if `write_samples` could not write there; for before anything is drawn."""
    check_place(Path(output, f"{_stem(first_seed)}.png") if format == "png" else output)
    if movie:
        check_place(movie)


def write_samples(
    origin: Origin,
    seeds: np.ndarray,
    *,
    output: str | os.PathLike,
    format: str = "grid",
    movie: str | os.PathLike | None = None,
) -> Path:
    """Draw images and write them, with a progress bar.

    Args:
        origin: where they come from; see `Origin`.
        seeds: int64 [N], the seed of each image.
        output: the file, or for "png" the folder, to write.
        format: "grid", one PNG with all images, of completed pictures a row for each; "png", single
            files named by their seeds, written as they come; "npz", arrays `images`, uint8
            [N, H, W, C], and `seeds`. The order is that of the seeds.
        movie: also write the chain of the first images as a GIF; the origin must keep its frames.

    Returns:
        `output` as a Path.

    Raises:
        ValueError: an unknown format.
        UserError: the origin cannot draw, or the place cannot be written. Single PNGs written
            before that stay.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be {' or '.join(FORMATS)}, not {format!r}")
    output = Path(output)
    if format == "png":
        writer = _Singles(output)
    elif format == "npz":
        writer = _OneFile(functools.partial(_save_npz, output))
    elif origin.inputs is None:
        writer = _OneFile(lambda seeds, pictures: images.save_grid(output, pictures))
    else:
        writer = _OneFile(functools.partial(_save_completions, output, origin.inputs))
    bar = tqdm(total=origin.amount(len(seeds)), disable=None, unit=origin.unit)
    # Closed also when writing fails: requests in flight are broken off.
    with bar, contextlib.closing(origin.images(seeds, bar)) as batches:
        for batch, pictures in batches:
            writer.add(batch, pictures)
    if movie:
        images.save_movie(movie, [images.grid(frame) for frame in origin.frames])
    writer.close()
    return output


class _Singles:
    """PNG files named by seed, written as they come."""

    def __init__(self, folder: Path):
        self._folder = folder

    def add(self, seeds, pictures):
        """Take uint8 [N, H, W, C] for N seeds, in any order."""
        images.save_singles(self._folder, pictures, map(_stem, seeds))

    def close(self):
        """Nothing is left to write."""


class _OneFile:
    """Everything in one file, written at the end by save(seeds, pictures) in the seeds' order."""

    def __init__(self, save: Callable[[np.ndarray, np.ndarray], object]):
        self._save = save
        self._parts = []

    def add(self, seeds, pictures):
        """Take uint8 [N, H, W, C] for N seeds, in any order."""
        self._parts.append((seeds, pictures))

    def close(self):
        """Write the file."""
        seeds, pictures = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.argsort(seeds)
        self._save(seeds[order], pictures[order])


def _stem(seed):
    """The name of the PNG of one seed, without its ending."""
    return f"{seed:06d}"


def _save_npz(path, seeds, pictures):
    save_arrays(path, {"images": pictures, "seeds": seeds}, compressed=True)


def _save_completions(path, inputs, seeds, pictures):
    """One PNG, a row for each input that was completed: the input, then its completions.

    Image i is a completion of input i modulo their number; inputs without one are left out.
    """
    num_inputs = min(len(inputs), len(pictures))
    columns = [inputs[:num_inputs]]
    for start in range(0, len(pictures), num_inputs):
        columns.append(pictures[start : start + num_inputs])
    images.save_columns(path, columns)
