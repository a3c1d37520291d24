"""The files of a run's checkpoints: which there are, how one is written and removed.

<run>/checkpoints/step-N.index, step-N.data-00000-of-00001

The best one lies in a folder of its own there: see `best_files`. What is in a folder counts. The
file `checkpoint` beside them, in which TensorFlow notes what it wrote, is kept up for other
programs and never read.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format

from ncsn_tf.errors import UserError, warn
from ncsn_tf.files import remove_leftovers, sync, write_atomically

FOLDER = "checkpoints"
_STATE = "checkpoint"
_INDEX = re.compile(r"step-(0|[1-9][0-9]*)\.index")
_BESIDE = re.compile(r"step-([0-9]+)\.(data-[0-9]{5}-of-[0-9]{5}|figure\.json)")  # not an index
PARTIAL = "writing-"  # before the name of a checkpoint that is not complete


def listed(run_dir: str | PathLike) -> list[str]:
    """The paths of a run's checkpoints, the newest first; none where there is no such folder.

    A path is that of the files without their endings, as TensorFlow takes it.
    """
    return listed_in(Path(run_dir) / FOLDER)


def listed_in(folder: str | PathLike) -> list[str]:
    """`listed`, of a folder of checkpoints."""
    steps = sorted(int(match[1]) for match in map(_INDEX.fullmatch, names(folder)) if match)
    return [os.path.join(folder, f"step-{step}") for step in reversed(steps)]


def path_of(run_dir: str | PathLike, step: int) -> str:
    """The path of the checkpoint of a step, as `listed` has it, whether it is there or not."""
    return str(Path(run_dir) / FOLDER / f"step-{step}")


def first_line(error: Exception) -> str:
    """The first line of what an error says; its type where it says nothing."""
    return (str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__])[0]


def write(checkpoint: tf.train.Checkpoint, run_dir: str | PathLike, step: int, keep: int) -> str:
    """Write a checkpoint of a run; it appears complete. Then the oldest are removed.

    Args:
        checkpoint: what is written.
        run_dir: the run's folder.
        step: training steps done.
        keep: how many of the newest stay.

    Returns:
        its path.

    Raises:
        UserError: it cannot be written; the earlier ones are intact.
    """
    folder = Path(run_dir) / FOLDER
    path = write_into(checkpoint, folder, step)
    write_state(folder, listed(run_dir)[:keep])
    _remove_old(run_dir, keep)
    return path


def write_into(
    checkpoint: tf.train.Checkpoint,
    folder: Path,
    step: int,
    before: Callable[[str], object] = lambda path: None,
) -> str:
    """Write a checkpoint into a folder; it appears complete.

    Args:
        checkpoint, step: as of `write`.
        folder: the folder, which is made if it is missing.
        before: called with the checkpoint's path when all is on the disk and nothing is in place.

    Returns:
        its path.

    Raises:
        UserError: it cannot be written; the earlier ones are intact.
    """
    path = str(folder / f"step-{step}")
    partial = str(folder / f"{PARTIAL}step-{step}")
    checkpoint.save_counter.assign_add(1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write(partial)
        before(path)
        # The index last: a checkpoint is there when its index is.
        for file in sorted(files_of(partial), key=lambda file: file.endswith(".index")):
            sync(file)
            os.replace(file, path + file[len(partial) :])
        sync(folder)
    except UserError:
        remove_unfinished(folder)
        raise
    except (tf.errors.OpError, OSError) as error:
        remove_unfinished(folder)
        cause = error.strerror if isinstance(error, OSError) else first_line(error)
        raise UserError(
            f"the checkpoint of step {step} cannot be written to {folder}: {cause}; "
            "the earlier ones are intact"
        ) from None
    return path


def _remove_old(run_dir, keep):
    """Remove all checkpoints but the newest ones."""
    for old in listed(run_dir)[keep:]:
        remove(old)


def remove(path: str) -> None:
    """Remove the files of a checkpoint; those that cannot be removed are said."""
    # The index first: without it, nobody begins to read the rest.
    for file in sorted(files_of(path), key=lambda file: not file.endswith(".index")):
        try:
            os.remove(file)
        except FileNotFoundError:
            pass
        except OSError as error:
            warn(f"{file} cannot be removed: {error.strerror}")


def remove_remains(run_dir: str | PathLike, keep: int) -> None:
    """Remove what killed processes left of unfinished files; for who holds the run's lock.

    Args:
        run_dir: the run's folder.
        keep: how many of the newest checkpoints stay: there is one more where a process was killed
            before it removed the oldest.
    """
    _remove_old(run_dir, keep)
    for place in (Path(run_dir), Path(run_dir) / "samples"):
        remove_leftovers(place)
    remove_unfinished(Path(run_dir) / FOLDER)


def remove_unfinished(folder: Path) -> None:
    """Remove from a folder of checkpoints what killed processes left there."""
    remove_leftovers(folder)
    _remove_partial(folder)
    there = set(names(folder))
    for name in there:
        match = _BESIDE.fullmatch(name)
        if match and f"step-{match[1]}.index" not in there:  # its removal was cut short
            with contextlib.suppress(OSError):
                os.remove(folder / name)


def _remove_partial(folder):
    """Remove what is left of checkpoints that were not written to their end."""
    for name in names(folder):
        with contextlib.suppress(OSError):
            if re.fullmatch(rf"({PARTIAL})?step-\d+_temp", name):
                shutil.rmtree(folder / name)
            elif name.startswith(f"{PARTIAL}step-"):
                os.remove(folder / name)


def write_state(folder: Path, paths: Sequence[str]) -> None:
    """Write the file in which other programs look for the newest checkpoint of a folder.

    Args:
        folder: the folder.
        paths: the checkpoints that are in it, the newest first.
    """
    prefixes = [os.path.basename(path) for path in reversed(paths)]
    state = tf.compat.v1.train.generate_checkpoint_state_proto(".", prefixes[-1], prefixes)
    text = text_format.MessageToString(state)
    write_atomically(folder / _STATE, lambda path: path.write_text(text, encoding="utf-8"))


def names(folder: str | PathLike) -> list[str]:
    """The names in a folder; none where there is no such folder.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None


def files_of(path: str) -> list[str]:
    """The files of a checkpoint, with the figure beside the best one.

    Example:
        >>> files_of("runs/none/checkpoints/step-1")
        []
    """
    folder, name = os.path.split(path)
    ending = re.compile(re.escape(name) + r"\.(index|data-\d{5}-of-\d{5}|figure\.json)")
    return [os.path.join(folder, file) for file in names(folder) if ending.fullmatch(file)]
