"""Files that appear whole or not at all, and are on the disk before they have their names."""

import contextlib
import errno
import functools
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from ncsn_tf.errors import UserError
from ncsn_tf.files.processes import is_running

_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
_LONGEST_WRITE = 60.0  # seconds; a younger file may be one that another machine is writing


def write_atomically(path: str | os.PathLike, write: Callable[[Path], object]) -> None:
    """Call write(temporary path), then move the file into place: never half a file.

    The file is on the disk before it has its name, so that a power cut leaves the old file or the
    new one. What killed writers of the same file left beside it is removed.

    Args:
        path: the file; folders that are missing are made.
        write: called with the path of a file beside it, which it writes.

    Raises:
        UserError: when the place cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "notes.txt")
        ...     write_atomically(path, lambda temporary: temporary.write_text("whole"))
        ...     path.read_text()
        'whole'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in _leftovers(path.parent).get(path.name, ()):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _LONGEST_WRITE:
                    leftover.unlink()
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:  # an end that was asked for leaves nothing behind either
        with contextlib.suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def sync(path: str | os.PathLike) -> None:
    """Have a file, or a folder's list of names, on the disk and not only in memory.

    File systems that know no such thing are left alone.

    Raises:
        OSError: the file cannot be written to the disk.
    """
    is_folder = os.path.isdir(path)
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not is_folder and error.errno not in _NOT_SUPPORTED:
            raise


def sync_tree(folder: str | os.PathLike) -> None:
    """`sync` for a folder and all that is in it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(os.path.join(parent, name))
        sync(parent)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove from a folder what `write_atomically` left there in processes that have ended.

    For a folder in which no other machine writes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, ".config.json.999999999.tmp").touch()
        ...     remove_leftovers(folder)
        ...     os.listdir(folder)
        []
    """
    _leftovers.cache_clear()
    for leftovers in _leftovers(Path(folder)).values():
        for leftover in leftovers:
            with contextlib.suppress(OSError):
                leftover.unlink()


@functools.lru_cache(maxsize=16)  # looked at once: a folder of samples can have very many files
def _leftovers(folder):
    """{NAME: [the files .NAME.PID.tmp of processes that do not run here]} of a folder."""
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            match = re.fullmatch(r"\.(.+)\.(\d{1,9})\.tmp", name, re.DOTALL)
            if match and not is_running(int(match[2])):
                found.setdefault(match[1], []).append(folder / name)
    return found
