"""The files of a run's checkpoints: which there are, which can be read, how one is written.

<run>/checkpoints/step-N.index, step-N.data-00000-of-00001

What is in the folder counts. The file `checkpoint` beside them, in which TensorFlow notes what it
wrote, is kept up for other programs and never read.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import NamedTuple, TypeVar

import tensorflow as tf
from google.protobuf import text_format

from ncsn_tf.errors import UserError, warn
from ncsn_tf.files import plain_folder, remove_leftovers, sync, write_atomically

FOLDER = "checkpoints"
_STATE = "checkpoint"
_INDEX = re.compile(r"step-(0|[1-9][0-9]*)\.index")
_DATA = re.compile(r"step-([0-9]+)\.data-[0-9]{5}-of-[0-9]{5}")
_PARTIAL = "writing-"  # before the name of a checkpoint that is not complete
_DAMAGED = "damaged-"  # before the name of one that was set aside
_BLOCK = 1 << 22
# What TensorFlow raises on a damaged or foreign checkpoint.
_ERRORS = (tf.errors.OpError, AssertionError, ValueError, LookupError)

Read = TypeVar("Read")


class UnreadableError(UserError):
    """A checkpoint that cannot be read, for `cause`: damaged, removed, or of something else."""

    def __init__(self, path: str, cause: str):
        super().__init__(
            f"checkpoint {path} cannot be read ({cause}); move its files away to use the one "
            "before, or name another --workdir"
        )
        self.cause = cause


class Found(NamedTuple):
    """What `newest_intact` found.

    Attributes:
        path: the checkpoint.
        content: what was read of it.
        damaged: {path: cause} of newer ones that are damaged.
    """

    path: str
    content: object
    damaged: dict[str, str]


def listed(run_dir: str | PathLike) -> list[str]:
    """The paths of a run's checkpoints, the newest first; none where there is no such folder.

    A path is that of the files without their endings, as TensorFlow takes it.
    """
    folder = Path(run_dir) / FOLDER
    steps = sorted(int(match[1]) for match in map(_INDEX.fullmatch, names(folder)) if match)
    return [str(folder / f"step-{step}") for step in reversed(steps)]


def newest_intact(run_dir: str | PathLike, read: Callable[[str], Read]) -> Found | None:
    """Read a run's newest checkpoint; of damaged ones the next older, and so on.

    Nothing is changed. A checkpoint that is removed while it is read, as training does with old
    ones, is left for the one that is then the newest.

    Args:
        run_dir: the run's folder.
        read: called with a path; raises an `UnreadableError` where it cannot be read.

    Returns:
        the checkpoint, what `read` returned, and the damaged ones; None without any checkpoint.

    Raises:
        UserError: none can be read, or the newest one is intact and yet `read` failed, or the
            system does not let its files be read, which is no damage.
    """
    damaged = {}
    while paths := [path for path in listed(run_dir) if path not in damaged]:
        path = paths[0]
        try:
            return Found(path, read(path), damaged)
        except UnreadableError:
            cause = damage(path)
            if not os.path.lexists(f"{path}.index"):
                continue
            if cause is None:
                raise
            damaged[path] = cause
    if not damaged:
        return None
    causes = ", nor ".join(f"{path} ({cause})" for path, cause in damaged.items())
    raise UserError(
        f"checkpoint {causes.replace(' (', ' cannot be read (', 1)}; there is no other: put intact "
        "files in their place, or name another --workdir"
    )


def damage(path: str) -> str | None:
    """What is wrong with a checkpoint; None if all of it can be read and has its checksums.

    Raises:
        UserError: the system does not let a file be read.
    """
    for file in _files(path):
        try:
            with open(file, "rb") as content:
                while content.read(_BLOCK):
                    pass
        except FileNotFoundError:
            pass  # TensorFlow says it below
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None
    try:
        with readable(path) as plain:
            read_tensors(plain)
    except UnreadableError as error:
        return error.cause
    return None


def read_tensors(plain: str, but: str = "") -> None:
    """Read every tensor of a checkpoint, so that its checksum is looked at.

    Args:
        plain: the checkpoint as `readable` gives it.
        but: tensors whose names begin so are left out: they have been read.
    """
    reader = tf.train.load_checkpoint(plain)
    for name in reader.get_variable_to_shape_map():
        if not (but and name.startswith(but)):
            reader.get_tensor(name)


@contextlib.contextmanager
def readable(path: str) -> Iterator[str]:
    """A checkpoint's path as TensorFlow can read it; what it raises then, as an `UnreadableError`.

    Example:
        >>> with readable("run/checkpoints/step-1") as plain:  # doctest: +IGNORE_EXCEPTION_DETAIL
        ...     tf.train.load_checkpoint(plain)
        Traceback (most recent call last):
        ncsn_tf.training.checkpoint_files.UnreadableError: ... cannot be read (...)
    """
    folder, name = os.path.split(path)
    with plain_folder(folder) as plain:
        try:
            yield os.path.join(plain, name)
        except tf.errors.ResourceExhaustedError:
            raise  # memory is short: nothing is wrong with the checkpoint
        except _ERRORS as error:
            cause = first_line(error).replace(plain, folder)
            raise UnreadableError(path, cause) from error


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
    path = str(folder / f"step-{step}")
    partial = str(folder / f"{_PARTIAL}step-{step}")
    checkpoint.save_counter.assign_add(1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.write(partial)
        # The index last: a checkpoint is there when its index is.
        for file in sorted(_files(partial), key=lambda file: file.endswith(".index")):
            sync(file)
            os.replace(file, path + file[len(partial) :])
        sync(folder)
    except (tf.errors.OpError, OSError) as error:
        _remove_partial(folder)
        cause = error.strerror if isinstance(error, OSError) else first_line(error)
        raise UserError(
            f"the checkpoint of step {step} cannot be written to {folder}: {cause}; "
            "the earlier ones are intact"
        ) from None
    _write_state(folder, listed(run_dir)[:keep])
    _remove_old(run_dir, keep)
    return path


def _remove_old(run_dir, keep):
    """Remove all checkpoints but the newest ones."""
    for old in listed(run_dir)[keep:]:
        # The index first: without it, nobody begins to read the rest.
        for file in sorted(_files(old), key=lambda file: not file.endswith(".index")):
            try:
                os.remove(file)
            except FileNotFoundError:
                pass
            except OSError as error:
                warn(f"{file} cannot be removed: {error.strerror}")


def set_aside(damaged: dict[str, str]) -> None:
    """Give damaged checkpoints names that are not a checkpoint's, and tell the user.

    Args:
        damaged: {path: cause}.
    """
    for path, cause in damaged.items():
        folder, name = os.path.split(path)
        taken, number, new = set(names(folder)), 1, f"{_DAMAGED}{name}"
        while any(other.startswith(f"{new}.") for other in taken):
            number += 1
            new = f"{_DAMAGED}{name}-{number}"
        try:
            for file in sorted(_files(path), key=lambda file: not file.endswith(".index")):
                os.rename(file, os.path.join(folder, new) + file[len(path) :])
        except OSError as error:
            raise UserError(f"{path} is damaged, and cannot be set aside: {error}") from None
        warn(f"checkpoint {path} is damaged ({cause}): set aside as {new}, the one before is used")


def pass_over(damaged: dict[str, str]) -> None:
    """Tell the user of damaged checkpoints, and leave them as they are.

    Args:
        damaged: {path: cause}.
    """
    for path, cause in damaged.items():
        warn(f"checkpoint {path} is damaged ({cause}): the one before is used")


def remove_remains(run_dir: str | PathLike, keep: int) -> None:
    """Remove what killed processes left of unfinished files; for who holds the run's lock.

    Args:
        run_dir: the run's folder.
        keep: how many of the newest checkpoints stay: there is one more where a process was killed
            before it removed the oldest.
    """
    folder = Path(run_dir) / FOLDER
    _remove_old(run_dir, keep)
    for place in (Path(run_dir), folder, Path(run_dir) / "samples"):
        remove_leftovers(place)
    _remove_partial(folder)
    there = set(names(folder))
    for name in there:
        match = _DATA.fullmatch(name)
        if match and f"step-{match[1]}.index" not in there:  # its removal was cut short
            with contextlib.suppress(OSError):
                os.remove(folder / name)


def _remove_partial(folder):
    """Remove what is left of checkpoints that were not written to their end."""
    for name in names(folder):
        with contextlib.suppress(OSError):
            if re.fullmatch(rf"({_PARTIAL})?step-\d+_temp", name):
                shutil.rmtree(folder / name)
            elif name.startswith(f"{_PARTIAL}step-"):
                os.remove(folder / name)


def _write_state(folder, paths):
    """The file in which TensorFlow's other programs look for the newest checkpoint."""
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


def _files(path):
    """The files of a checkpoint."""
    folder, name = os.path.split(path)
    ending = re.compile(re.escape(name) + r"\.(index|data-\d{5}-of-\d{5})")
    return [os.path.join(folder, file) for file in names(folder) if ending.fullmatch(file)]
