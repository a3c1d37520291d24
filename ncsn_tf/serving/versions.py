"""A folder of numbered versions, as TensorFlow Serving watches it; each appears whole.

<folder>/1/  <folder>/2/  ...
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from ncsn_tf.errors import UserError
from ncsn_tf.files import is_abandoned, machine, sync, sync_tree

_EXISTS = (errno.EEXIST, errno.ENOTEMPTY)


def versions(folder: str | os.PathLike) -> list[int]:
    """The numbers of the versions in a folder, rising; none where there is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("2", "10", "latest"):
        ...         (Path(folder) / name).mkdir()
        ...     versions(folder)
        [2, 10]
    """
    return sorted(int(path.name) for path in Path(folder).glob("*") if path.name.isdecimal())


def write_version(folder: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Call write(temporary folder), then move that into place as the next version.

    What killed writers left is removed before: of this machine's at once, of others' when nothing
    was written to it for ten minutes.

    Args:
        folder: where the versions are; made if missing.
        write: makes the folder of the path that it is given, and what is in it.

    Returns:
        Path of the version.

    Raises:
        UserError: when it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_version(folder, lambda path: path.mkdir()).name
        ...     write_version(folder, lambda path: path.mkdir()).name
        '1'
        '2'
    """
    target = _next_version(folder)
    partial = target.with_name(f".{target.name}.{os.getpid()}.{machine()}")
    try:
        _remove_leftovers(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        sync_tree(partial)
        return _appear(partial, target)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"the export {target} cannot be written: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _next_version(folder):
    return Path(folder) / str(max(versions(folder), default=0) + 1)


def _appear(partial, target):
    """Rename the finished version; to the next number if another writer took its own meanwhile."""
    while True:
        try:
            os.rename(partial, target)
            sync(target.parent)
            return target
        except OSError as error:
            if error.errno not in _EXISTS:
                raise
        target = _next_version(target.parent)


def _remove_leftovers(folder):
    """Remove what writers left when they were killed."""
    for path in Path(folder).glob(".*"):
        match = re.fullmatch(r"\.\d+\.(\d{1,9})\.(.*)", path.name, re.DOTALL)
        if match and is_abandoned(int(match[1]), match[2], _touched(path)):
            shutil.rmtree(path, ignore_errors=True)


def _touched(folder):
    """When anything in a folder was last written; 0 where it has gone meanwhile."""
    times = [0.0]
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            with contextlib.suppress(OSError):
                times.append(os.stat(path).st_mtime)
    return max(times)
