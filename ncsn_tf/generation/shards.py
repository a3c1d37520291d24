"""Many images by several processes: which of them draws what.

The seeds of the images are cut into blocks of one size, whatever the number of shards, and a block
is a file. A shard draws some of the blocks, and leaves those alone that are there already. So any
number of shards gives the same files, and one that was killed goes on where it was.
"""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ncsn_tf.errors import ConfigError
from ncsn_tf.files import check_place, require_folder
from ncsn_tf.generation.block_files import BlockWriter, labels_of_blocks, read_blocks
from ncsn_tf.generation.writing import Origin, draw_into, make_writer

AUTO = "auto"


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
        folder: where the files go, `seeds-A-B.npz` with `images`, uint8 [N, H, W, C], and `seeds`;
            of images of classes also `labels` and `class_names`.
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
    about = {**origin.about(), "block": block}
    writer = BlockWriter(folder, blocks, whole, about, origin.labels)
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
    writer = make_writer(output, format, labels=labels_of_blocks(folder))
    writer.add(seeds, pictures)
    writer.close()
    return len(seeds)
