"""Many images by several processes: which of them draws what, and one whole of all parts.

The seeds of the images are cut into blocks of one size, whatever the number of shards, and a block
is a file. A shard draws some of the blocks, and leaves those alone that are there already. So any
number of shards gives the same files, and one that was killed goes on where it was.
"""

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ncsn_tf.errors import ConfigError, UserError, inform
from ncsn_tf.files import check_place, read_arrays, require_folder, save_arrays
from ncsn_tf.generation.writing import Origin, draw_into, make_writer

AUTO = "auto"
_NAMES = "seeds-*.npz"
_WHAT = "a block of images: ncsn sample --shard"


@dataclasses.dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 0.

    Example:
        >>> Shard.parse("1/4")
        Shard(index=1, count=4)
        >>> Shard.parse("auto", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "8",
        ...                      "SLURM_ARRAY_TASK_MIN": "1"})
        Shard(index=6, count=8)
        >>> Shard.parse("auto/8", {"JOB_COMPLETION_INDEX": "6"})
        Shard(index=6, count=8)
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] | None = None) -> "Shard":
        """The shard that --shard names.

        Args:
            text: "i/n" with 0 <= i < n; "auto", by the variables of a SLURM job array; "auto/n", by
                those or by that of an Indexed Job of Kubernetes, which does not tell n.
            environment: the variables; None is those of this process.

        Raises:
            ConfigError: it is none, or the variables are missing.
        """
        environment = os.environ if environment is None else environment
        index, _, count = text.partition("/")
        if index == AUTO:
            index, told = _task(environment, text)
            count = count or told
            if not count:
                raise ConfigError(f"--shard={text} must be {AUTO}/n: Kubernetes does not tell n")
        if not (_is_number(index) and _is_number(count) and int(index) < int(count)):
            raise ConfigError(
                f"--shard={text} must be i/n with i from 0 to n - 1, such as 0/8"
                + (f", not {index}/{count}" if text.startswith(AUTO) else "")
            )
        return cls(int(index), int(count))

    def part(self, blocks: Sequence[range]) -> Sequence[range]:
        """Its share of the blocks, which follow one another.

        Example:
            >>> [len(Shard(index, 3).part([range(1)] * 7)) for index in range(3)]
            [2, 2, 3]
        """
        bounds = (len(blocks) * place // self.count for place in (self.index, self.index + 1))
        return blocks[slice(*bounds)]


def _task(environment, text):
    """(index, count or "") of this task, from the variables of what started it."""
    task = environment.get("SLURM_ARRAY_TASK_ID", "")
    first = environment.get("SLURM_ARRAY_TASK_MIN", "0")
    count = environment.get("SLURM_ARRAY_TASK_COUNT", "")
    if _is_number(task) and _is_number(first):
        return str(int(task) - int(first)), count
    index = environment.get("JOB_COMPLETION_INDEX", "")
    if _is_number(index):
        return index, ""
    raise ConfigError(
        f"--shard={text} needs the variables of a SLURM job array (SLURM_ARRAY_TASK_ID) or of an "
        "Indexed Job (JOB_COMPLETION_INDEX)"
    )


def _is_number(text):
    return re.fullmatch(r"[0-9]{1,9}", text) is not None


def blocks_of(first_seed: int, count: int, block: int) -> list[range]:
    """The seeds of `count` images, cut into ranges of `block`; the last may be shorter.

    Example:
        >>> blocks_of(10, 5, block=2)
        [range(10, 12), range(12, 14), range(14, 15)]
    """
    stop = first_seed + count
    return [range(start, min(start + block, stop)) for start in range(first_seed, stop, block)]


def check_folder(folder: str | os.PathLike) -> None:
    """Raise a UserError if `write_shard` could not write there; for before anything is drawn."""
    check_place(Path(folder, "seeds-0.npz"))
    require_folder(folder)


def write_shard(
    origin: Origin,
    shard: Shard,
    first_seed: int,
    count: int,
    *,
    folder: str | os.PathLike,
    block: int,
    is_open: bool = False,
) -> list[Path]:
    """Draw a shard's part of the images of `count` seeds, a file for each block of them.

    Args:
        origin: where they come from.
        shard: which part.
        first_seed, count: the seeds of all shards together.
        folder: where the files go, `seeds-A-B.npz` with `images`, uint8 [N, H, W, C], and `seeds`.
        block: images in a file.
        is_open: whether more images may be drawn into the folder later, of other seeds: the files
            then do not say how many there are in all.

    Returns:
        the shard's files, with those that were there before.

    Raises:
        UserError: the origin cannot draw, the place cannot be written, or what is there was drawn
            with other settings. Files that were written stay.
    """
    blocks = shard.part(blocks_of(first_seed, count, block))
    whole = None if is_open else (first_seed, count)
    writer = _BlockWriter(folder, blocks, whole, {**origin.about(), "block": block})
    if len(writer.missing):
        draw_into(writer, origin, writer.missing)
    return [writer.path(block) for block in blocks]


def merge(folder: str | os.PathLike, *, output: str | os.PathLike, format: str = "npz") -> int:
    """One file, or a folder of PNGs, of all images that shards drew.

    Args:
        folder: the folder of the shards.
        output, format: as of `writing.write_samples`; the file is the one that it would write.

    Returns:
        the number of images.

    Raises:
        UserError: what `read_blocks` raises, or the place cannot be written.
    """
    seeds, pictures = read_blocks(folder)
    writer = make_writer(output, format)
    writer.add(seeds, pictures)
    writer.close()
    return len(seeds)


class _BlockWriter:
    """Writes the blocks of a shard, each as soon as it is whole.

    Args:
        folder: where they go.
        blocks: the shard's blocks.
        whole: (first seed, number of images) of all shards together; None if more may follow.
        about: what decides the images besides their seeds, as JSON can hold it.

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
    ):
        self._folder = Path(folder)
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
                    "about": np.frombuffer(self._about.encode(), np.uint8),
                }
                save_arrays(self.path(block), arrays, compressed=True)

    def close(self) -> None:
        """Nothing is left to write."""

    def path(self, block):
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
        seeds = json.loads(text)["seeds"]
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
