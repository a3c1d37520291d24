"""The files of images that several processes draw, one a block of seeds, and one whole of them."""

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ncsn_tf.errors import UserError, inform
from ncsn_tf.files import read_arrays, save_arrays
from ncsn_tf.settings.labels import Labels, from_about, label_arrays

_NAMES = "seeds-*.npz"
_WHAT = "a block of images: ncsn sample --shard"


class BlockWriter:
    """Writes the blocks of a shard, each as soon as it is whole.

    Args:
        folder: where they go.
        blocks: the shard's blocks.
        whole: (first seed, number of images) of all shards together; None if more may follow.
        about: what decides the images besides their seeds, as JSON can hold it.
        labels: the classes of the images, if they have any.

    Attributes:
        missing: int64 [N], the seeds of the blocks that are not there.

    Raises:
        UserError: a block that is there cannot be read, or was drawn otherwise, by any shard.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        blocks: Sequence[range],
        whole: tuple[int, int] | None,
        about: Mapping[str, object],
        labels: Labels | None = None,
    ):
        self._folder = Path(folder)
        self._labels = labels
        self._about = _text(about, whole)
        # Any one file, of another shard too: it would be a pity to draw what does not go with it.
        for path in itertools.islice(self._folder.glob(_NAMES), 1):
            self._check(path)
        there = {block.start for block in blocks if self._is_there(block)}
        todo = [block for block in blocks if block.start not in there]
        if there:
            inform(f"{len(there)} of {len(blocks)} files of this shard are there already")
        self._todo = {block.start: (block, {}) for block in todo}
        self._block_of = {seed: block.start for block in todo for seed in block}
        self.missing = np.array([*self._block_of], np.int64)

    def add(self, seeds: np.ndarray, pictures: np.ndarray) -> None:
        """Take uint8 [N, H, W, C] for N seeds, in any order."""
        for seed, picture in zip(seeds.tolist(), pictures, strict=True):
            block, drawn = self._todo[self._block_of[seed]]
            drawn[seed] = picture
            if len(drawn) == len(block):
                del self._todo[block.start]
                arrays = {
                    "images": np.stack([drawn[seed] for seed in block]),
                    "seeds": np.array(block, np.int64),
                    **label_arrays(self._labels, block),
                    "about": np.frombuffer(self._about.encode(), np.uint8),
                }
                save_arrays(self.path(block), arrays, compressed=True)

    def close(self) -> None:
        """Nothing is left to write."""

    def path(self, block: range) -> Path:
        """The file of a block."""
        return self._folder / f"seeds-{block.start:06d}-{block.stop - 1:06d}.npz"

    def _is_there(self, block):
        path = self.path(block)
        if not path.exists():
            return False
        self._check(path)
        return True

    def _check(self, path):
        other = _read(path)
        if other.about != self._about:
            mine, others = (json.loads(about) for about in (self._about, other.about))
            instead = "name another --out"
            if "step" in others and mine.get("step") != others["step"]:
                instead += f", or draw with --checkpoint={others['step']}"
            raise UserError(f"{path} {_difference(self._about, other.about)}: {instead}")


@dataclasses.dataclass(frozen=True)
class _Block:
    path: Path
    images: np.ndarray
    seeds: np.ndarray
    about: str


def _read(path):
    """A block's file, checked by itself."""
    arrays = read_arrays(path, ["images", "seeds", "about"], _WHAT)
    images, seeds, about = (arrays[name] for name in ("images", "seeds", "about"))
    count = len(images) if images.ndim == 4 else 0
    if (
        images.dtype != np.uint8
        or not count
        or seeds.dtype != np.int64
        or seeds.ndim != 1
        or not np.array_equal(seeds, seeds[:1] + np.arange(count))
        or about.dtype != np.uint8
        or not _is_about(about.tobytes().decode(errors="replace"))
    ):
        raise UserError(f"{path} is not {_WHAT}")
    return _Block(path, images, seeds, about.tobytes().decode())


def _is_about(text):
    """Whether a line says how a block was drawn: see `_text`."""
    try:
        about = json.loads(text)
        from_about(about)
        seeds = about["seeds"]
        return seeds is None or len(seeds) == 2 and all(type(number) is int for number in seeds)
    except (TypeError, ValueError, KeyError, RecursionError):
        return False


def read_blocks(folder: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """All images that shards drew into a folder.

    Args:
        folder: the `--out` of `ncsn sample --shard`.

    Returns:
        (seeds int64 [N], images uint8 [N, H, W, C]) in the order of the seeds.

    Raises:
        UserError: there are none, a file is damaged, images are missing or there twice, or were
            drawn with other settings; one line.
    """
    paths = sorted(Path(folder).glob(_NAMES)) if os.path.isdir(folder) else []
    if not paths:
        raise UserError(f"{folder} holds no {_NAMES} of ncsn sample --shard")
    blocks = sorted((_read(path) for path in paths), key=lambda block: block.seeds[0])
    first = blocks[0]
    for other in blocks[1:]:
        if other.about != first.about:
            raise UserError(
                f"{other.path} {_difference(first.about, other.about)}, unlike {first.path}"
            )
        if other.images.shape[1:] != first.images.shape[1:]:
            raise UserError(f"{other.path} holds images of another size than {first.path}")
    # Of a collection that may grow, what is there is all.
    there = int(first.seeds[0]), sum(len(block.seeds) for block in blocks)
    start, count = json.loads(first.about)["seeds"] or there
    for seeds, path in [(block.seeds, block.path) for block in blocks]:
        if seeds[0] > start:
            raise _missing(folder, start, seeds[0])
        if seeds[0] < start:
            raise UserError(f"{path} holds images that another file holds too: remove one of them")
        start, count = int(seeds[-1]) + 1, count - len(seeds)
    if count:
        raise _missing(folder, start, start + count)
    return (
        np.concatenate([block.seeds for block in blocks]),
        np.concatenate([block.images for block in blocks]),
    )


def labels_of_blocks(folder: str | os.PathLike) -> Labels | None:
    """The classes of the images that `read_blocks` reads; None where they have none."""
    first = min(Path(folder).glob(_NAMES))
    return from_about(json.loads(_read(first).about))


def _missing(folder, start, stop):
    return UserError(
        f"{folder} lacks the images of seeds {start} to {stop - 1}: run their shards again"
    )


def _text(about, whole):
    """What decides the images, as one line of JSON."""
    seeds = None if whole is None else [int(number) for number in whole]
    return json.dumps({"seeds": seeds, **about}, sort_keys=True)


def _difference(mine, other):
    """What is different between two lines of JSON, in words."""
    mine, other = json.loads(mine), json.loads(other)
    names = [name for name in {**mine, **other} if mine.get(name) != other.get(name)]
    pairs = (f"{name} {other.get(name)} and not {mine.get(name)}" for name in names)
    return f"was drawn with {', '.join(pairs)}"
