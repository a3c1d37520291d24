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
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import check_place, require_ending, require_folder, save_arrays
from ncsn_tf.settings.labels import Labels, label_arrays

FORMATS = ("grid", "png", "npz")
_ENDINGS = {"grid": (*images.PICTURES,), "npz": (".npz",)}


class Origin(Protocol):
    """Where images come from.

    Attributes:
        unit: what its progress bar counts.
        inputs: what is known of the pictures that are completed, uint8 [M, H, W, C]; None where
            there are none.
        labels: the classes of the images; None where they have none.
    """

    unit: str
    inputs: np.ndarray | None
    labels: Labels | None

    def amount(self, num_images: int) -> int:
        """Up to how many its progress bar counts for that many images."""

    def images(self, seeds: np.ndarray, bar: tqdm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (seeds [N], their images uint8 [N, H, W, C]) in any order until all are there."""

    def about(self) -> dict[str, object]:
        """What decides the images besides their seeds, as JSON can hold it."""


class Writer(Protocol):
    """Takes images as they are drawn, and makes files of them."""

    def add(self, seeds: np.ndarray, pictures: np.ndarray) -> None:
        """Take uint8 [N, H, W, C] for N seeds, in any order."""

    def close(self) -> None:
        """Write what is not yet written."""


def check_places(
    first_seed: int,
    *,
    output: str | os.PathLike,
    format: str = "grid",
    movie: str | os.PathLike | None = None,
) -> None:
    """Raise an error if `write_samples` could not write there; for before anything is drawn.

    Raises:
        ConfigError: the ending of a path is that of another format.
        UserError: a place cannot be written.

    Example:
        >>> check_places(0, output="samples.jpg")
        >>> check_places(0, output="samples.jpg", movie="chain.mp4")
        Traceback (most recent call last):
        ncsn_tf.errors.ConfigError: chain.mp4 must end with .gif or .webp, which decides its format
    """
    if format == "png":
        check_place(Path(output, f"{_stem(first_seed)}.png"))
        require_folder(output)
    else:
        check_place(output)
        require_ending(output, _ENDINGS[format])
    if movie:
        check_place(movie)
        require_ending(movie, images.MOVIES)
        if os.path.abspath(movie) == os.path.abspath(output):
            raise ConfigError(f"{movie} is the file of the samples: name another for the movie")


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
        output: the file, or for "png" the folder, to write. The ending of a grid's decides its
            format, one of `data.images.PICTURES`.
        format: "grid", one picture of all images, of completed ones a row for each, of several
            classes a row for each; "png", single files named by their seeds, written as they come;
            "npz", arrays `images`, uint8 [N, H, W, C], and `seeds`, and where the images are of
            classes `labels`, int32 [N], and `class_names`. The order is that of the seeds.
        movie: also write the chain of the first images, as one of `data.images.MOVIES`; the origin
            must keep its frames.

    Returns:
        `output` as a Path.

    Raises:
        ValueError: an unknown format.
        ConfigError: the ending of a path is that of another format.
        UserError: the origin cannot draw, or the place cannot be written. Single PNGs written
            before that stay.
    """
    writer = make_writer(output, format, origin.inputs, origin.labels)
    output = Path(output)
    if len(seeds):
        check_places(seeds[0], output=output, format=format, movie=movie)
    draw_into(writer, origin, seeds)
    if movie:
        images.save_movie(movie, [images.grid(frame) for frame in origin.frames])
    writer.close()
    return output


def make_writer(
    output: str | os.PathLike,
    format: str,
    inputs: np.ndarray | None = None,
    labels: Labels | None = None,
) -> Writer:
    """What writes images in one of `FORMATS`, see `write_samples`.

    Args:
        output, format: as of `write_samples`.
        inputs, labels: see `Origin`.

    Raises:
        ValueError: an unknown format.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be {' or '.join(FORMATS)}, not {format!r}")
    output = Path(output)
    if format == "png":
        return _Singles(output)
    if format == "npz":
        return _OneFile(functools.partial(_save_npz, output, labels))
    if inputs is not None:
        return _OneFile(functools.partial(_save_completions, output, inputs))
    if labels is not None and len(labels.classes) > 1:
        return _OneFile(functools.partial(_save_classes, output, labels))
    return _OneFile(lambda seeds, pictures: images.save_grid(output, pictures))


def draw_into(writer: Writer, origin: Origin, seeds: np.ndarray) -> None:
    """Draw the images of seeds, int64 [N], with a progress bar, and hand them to a writer."""
    bar = tqdm(total=origin.amount(len(seeds)), disable=None, unit=origin.unit)
    # Closed also when writing fails: requests in flight are broken off.
    with bar, contextlib.closing(origin.images(seeds, bar)) as batches:
        for batch, pictures in batches:
            writer.add(batch, pictures)


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


def _save_npz(path, labels, seeds, pictures):
    arrays = {"images": pictures, "seeds": seeds, **label_arrays(labels, seeds)}
    save_arrays(path, arrays, compressed=True)


def _save_classes(path, labels, seeds, pictures):
    """One picture, a row for each class that is drawn."""
    images.save_rows(path, [pictures[places] for places in labels.groups(seeds)])


def _save_completions(path, inputs, seeds, pictures):
    """One picture, a row for each input that was completed: the input, then its completions.

    Image i is a completion of input i modulo their number; inputs without one are left out.
    """
    num_inputs = min(len(inputs), len(pictures))
    columns = [inputs[:num_inputs]]
    for start in range(0, len(pictures), num_inputs):
        columns.append(pictures[start : start + num_inputs])
    images.save_columns(path, columns)
