"""Which checkpoint of a run can be read: the newest that is intact, and what to do about others.

What is damaged is found by reading: TensorFlow looks at a checksum of each tensor.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from os import PathLike
from typing import NamedTuple, TypeVar

import tensorflow as tf

from ncsn_tf.errors import UserError, warn
from ncsn_tf.files import plain_folder
from ncsn_tf.training.checkpoint_files import files_of, first_line, listed, names

_DAMAGED = "damaged-"  # before the name of a checkpoint that was set aside
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
    for file in files_of(path):
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
        ncsn_tf.training.checkpoint_reading.UnreadableError: ... cannot be read (...)
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


def set_aside(damaged: dict[str, str]) -> None:
    """Give damaged checkpoints names that are not a checkpoint's, and tell the user.

    Args:
        damaged: {path: cause}.
    """
    for path, cause in damaged.items():
        new = rename_damaged(path)
        warn(f"checkpoint {path} is damaged ({cause}): set aside as {new}, the one before is used")


def rename_damaged(path: str) -> str:
    """Give a damaged checkpoint a name that is not a checkpoint's; returns that name."""
    folder, name = os.path.split(path)
    taken, number, new = set(names(folder)), 1, f"{_DAMAGED}{name}"
    while any(other.startswith(f"{new}.") for other in taken):
        number += 1
        new = f"{_DAMAGED}{name}-{number}"
    try:
        for file in sorted(files_of(path), key=lambda file: not file.endswith(".index")):
            os.rename(file, os.path.join(folder, new) + file[len(path) :])
    except OSError as error:
        raise UserError(f"{path} is damaged, and cannot be set aside: {error}") from None
    return new


def pass_over(damaged: dict[str, str]) -> None:
    """Tell the user of damaged checkpoints, and leave them as they are.

    Args:
        damaged: {path: cause}.
    """
    for path, cause in damaged.items():
        warn(f"checkpoint {path} is damaged ({cause}): the one before is used")
