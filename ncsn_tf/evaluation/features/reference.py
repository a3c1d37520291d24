"""Reference statistics: the features of the images that others are compared with, kept."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ncsn_tf.backend import signals
from ncsn_tf.data.batches import images_at, ordered_batches, readable_places
from ncsn_tf.data.cache import folder_name
from ncsn_tf.data.source import Source
from ncsn_tf.errors import UserError, warn
from ncsn_tf.evaluation.features.entries import kept
from ncsn_tf.evaluation.features.network import FeatureNetwork
from ncsn_tf.evaluation.metrics import FeatureSums
from ncsn_tf.files import array_headers, map_array, read_arrays, save_arrays, user_path

FORMAT = 1  # of what is kept
FILE, VECTORS = "reference.npz", "vectors.npy"
_BATCH = 256  # images between two looks at signals
_ABOUT = ("number", "network", "checksum")


class Reference(NamedTuple):
    """Features of N images.

    Attributes:
        mu: their mean, float64 [D].
        sigma: their covariance with N - 1, float64 [D, D].
        number: N; 0 where a file does not say.
        vectors: float32 [N, D], mapped from a file; None where a file has none.
        network: the `name` of the network; "" where a file does not say.
        checksum: the network's; "" where a file does not say.
        path: the file.
    """

    mu: np.ndarray
    sigma: np.ndarray
    number: int
    vectors: np.ndarray | None
    network: str
    checksum: str
    path: Path


def reference_of(
    network: FeatureNetwork,
    source: Source,
    *,
    split: str = "train",
    num_images: int = 0,
    cache_dir: str = "",
) -> Reference:
    """The features of a source's images, from the cache where they were computed before.

    What is kept is named by the images (`Source.fingerprint`: their preparation, order and size are
    in it), the split, the number and the network with its checksum and resize.

    Args:
        network: a `FeatureNetwork`.
        source: the images; those that cannot be read are left out.
        split: what they are, for the name.
        num_images: the first of a fixed shuffled order; 0 is all of them.
        cache_dir: as in `cache.cache_folder`.

    Raises:
        UserError: the cache cannot be written, or fewer than two images can be read.
    """
    num_images = min(num_images, source.num_examples)
    if num_images == source.num_examples:
        num_images = 0
    settings = [FORMAT, network.name, network.checksum, network.resize, split, num_images]
    _, name = folder_name(f"{network.name}-{source.name}", settings, source.fingerprint())

    def read(folder):
        if not folder.is_dir():
            return None
        try:
            return read_reference(folder / FILE, network)
        except UserError as error:
            warn(f"damaged, and computed anew: {error}")
            return None

    return kept(cache_dir, name, read, lambda folder: _compute(folder, network, source, num_images))


def read_reference(path: str | Path, network: FeatureNetwork | None = None) -> Reference:
    """Statistics in an .npz: one of the field, with `mu` and `sigma`, or one of `reference_of`.

    Args:
        path: the file. One of `reference_of` has its vectors beside it, in vectors.npy.
        network: what it must be of, as far as the file tells: the dimension, and the checksum.

    Raises:
        UserError: it cannot be read, is damaged, another kind of file, or of another network; one
            line.
    """
    path = user_path(path)
    what = "an .npz of reference statistics, with `mu` and `sigma`"
    arrays = read_arrays(path, ["mu", "sigma"], what)
    known = [name for name in _ABOUT if name in array_headers(path)]
    about = dict.fromkeys(_ABOUT, "") | read_arrays(path, known, what)
    try:
        mu, sigma = (np.asarray(arrays[name], np.float64) for name in ("mu", "sigma"))
        number = int(about["number"] or 0)
    except (TypeError, ValueError):
        raise UserError(f"{path} is not {what}") from None
    if mu.ndim != 1 or not len(mu) or sigma.shape != (len(mu), len(mu)):
        raise UserError(
            f"{path} is not {what}: they are {list(mu.shape)} and {list(sigma.shape)}, "
            "not [D] and [D, D]"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"{path} is damaged: its numbers are not all finite")
    scale = np.abs(sigma).max()
    if np.abs(sigma - sigma.T).max() > 1e-5 * scale or np.diag(sigma).min() < -1e-5 * scale:
        raise UserError(f"{path} is damaged: its sigma is no covariance")
    name, checksum = str(about["network"]), str(about["checksum"])
    if network is not None:
        if len(mu) != network.dimension:
            raise UserError(
                f"{path} is of features of {len(mu)} numbers, and those of {network.name} have "
                f"{network.dimension}: it is of another network"
            )
        if checksum and checksum != network.checksum:
            raise UserError(
                f"{path} is of the network {name} {checksum}, not {network.name} {network.checksum}"
            )
    vectors = None
    beside = path.with_name(VECTORS)
    if checksum and beside.exists():
        vectors = map_array(beside)
        if vectors.shape != (number, len(mu)) or vectors.dtype != np.float32:
            raise UserError(
                f"{beside} is damaged: {vectors.dtype} {list(vectors.shape)}, not float32 "
                f"{[number, len(mu)]}"
            )
    return Reference(mu, sigma, number, vectors, name, checksum, path)


def _compute(folder: Path, network: FeatureNetwork, source: Source, num_images: int) -> None:
    """Write the features of a source into a folder: vectors first, then the statistics."""
    total = num_images or source.num_examples
    sums = FeatureSums(network.dimension)
    with (
        open(folder / VECTORS, "wb") as file,
        tqdm(desc=f"features {source.name}", total=total, unit="image", disable=None) as bar,
    ):
        start = _write_header(file, total, network.dimension)
        for pixels in _batches(source, num_images):
            signals.check()
            vectors = network(pixels).vectors
            if not np.isfinite(vectors).all():
                raise UserError(f"features of {network.name} are not finite numbers")
            sums.add(vectors)
            file.write(np.ascontiguousarray(vectors, "<f4").data)
            bar.update(len(pixels))
        if sums.count < 2:
            raise UserError(f"{source.name} has fewer than two images that can be read")
        file.seek(0)
        if _write_header(file, sums.count, network.dimension) != start:
            raise AssertionError("the header of an array has another length")
    save_arrays(
        folder / FILE,
        {
            "mu": sums.mean,
            "sigma": sums.covariance,
            "number": np.array(sums.count),
            "network": np.array(network.name),
            "checksum": np.array(network.checksum),
        },
    )
    about = {
        "network": network.name,
        "checksum": network.checksum,
        "resize": network.resize,
        "images": source.name,
        "number": sums.count,
        "made": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _batches(source: Source, num_images: int) -> Iterator[np.ndarray]:
    """uint8 [b, H, W, C] of the images that are wanted and can be read."""
    if not num_images:
        for _, pixels in ordered_batches(source, _BATCH).as_numpy_iterator():
            if len(pixels):
                yield pixels
        return
    places = readable_places(source, num_images)
    for start in range(0, len(places), _BATCH):
        yield images_at(source, places[start : start + _BATCH])


def _write_header(file, rows: int, dimension: int) -> int:
    """The start of a .npy of float32 [rows, dimension]; returns where the first row begins."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()
