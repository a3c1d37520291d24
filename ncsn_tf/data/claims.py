"""Who prepares a folder of the cache: one process at a time, beside the place that it is for.

It works in `NAME.part`, whose file `lock` it holds (flock), and the last act is to rename that.
Where a file system has no locks, each process works in a folder of its own, and the first one to
finish has made it for all.
"""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ncsn_tf.backend import signals
from ncsn_tf.data.cache import ABOUT, PIXELS
from ncsn_tf.errors import inform
from ncsn_tf.files import is_abandoned, machine, sync, sync_tree

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

JOURNAL = "journal"  # what is of no use in a finished folder
_LOCK = "lock"
_PART = ".part"
_LOOK_EVERY = 0.2  # seconds between two looks at a lock
_OLD = 24 * 60 * 60  # seconds after which what another machine made may be removed
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def claimed(final: Path) -> Iterator[Path | None]:
    """The folder in which `final` is prepared, held by this process while the body runs.

    Where another process has it, this one waits, and says for whom. Where the file system has no
    locks, the folder is this process's own.

    Yields:
        the folder; None where it was another one's, who has ended meanwhile: `final` may be there.

    Raises:
        OSError: it cannot be made.
    """
    part = final.with_name(final.name + _PART)
    part.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            descriptor, is_new = _open_lock(part / _LOCK)
        except FileNotFoundError:  # it got its final name in this moment
            yield None
            return
        stack.callback(os.close, descriptor)
        has_locks = _wait_for_lock(descriptor, final)
        if not _is_same_file(part / _LOCK, descriptor):
            yield None
            return
        if has_locks:
            who = {"process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(who).encode(), 0)
        else:
            if is_new:  # otherwise it may be the work of one who has locks
                _remove_new(part)
            part = _own_folder(final)
        yield part


def publish(part: Path, final: Path) -> None:
    """Give a finished folder its final name: the last act of a preparation.

    Raises:
        OSError: it cannot be renamed, for another reason than that `final` is there by now.
    """
    sync_tree(part)
    try:
        os.rename(part, final)
    except OSError:
        if not final.exists():
            raise
        shutil.rmtree(part, ignore_errors=True)  # without locks, another one was faster
        return
    sync(final.parent)
    for name in (_LOCK, JOURNAL):
        with contextlib.suppress(OSError):
            os.unlink(final / name)


def remove_others(final: Path, start: str) -> None:
    """Remove from the folder of `final` others whose names have that start, but no one's work.

    What is finished goes where no process reads it, and this machine made it, or it is a day old:
    another machine may see the same pictures with other times, and come back to what it made.
    """
    for other in final.parent.glob(f"{start}*"):
        if other == final:
            continue
        if not other.name.endswith(_PART):
            if _is_ours_or_old(other):
                _remove_unless_held(other, PIXELS)
        elif _is_left(other):
            shutil.rmtree(other, ignore_errors=True)
        else:
            _remove_unless_held(other, _LOCK)


def _open_lock(path):
    """(descriptor, whether the file was not there before)."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666), False


def _remove_new(part):
    """Remove a folder that has nothing but a lock, which this process made and nobody used."""
    with contextlib.suppress(OSError):
        if not os.stat(part / _LOCK).st_size and os.listdir(part) == [_LOCK]:
            os.unlink(part / _LOCK)
            os.rmdir(part)


def _wait_for_lock(descriptor, final):
    """Lock a file, as soon as no other process has it: whether there are such locks."""
    if fcntl is None:
        return False
    is_said = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            who = _who(descriptor)
            if who and not is_said:
                inform(
                    f"waiting for process {who.get('process')}, which prepares {final.name} since "
                    f"{who.get('since')}"
                )
                is_said = True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
        signals.check()
        time.sleep(_LOOK_EVERY)


def _who(descriptor):
    try:
        return json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}


def _is_same_file(path, descriptor):
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_ours_or_old(folder):
    """Whether this machine made a finished folder, or it is a day old."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["machine"] == machine():
            return True
    except (OSError, KeyError, RecursionError, TypeError, ValueError):
        pass  # of an earlier version, or damaged: its age tells
    return _age(folder) > _OLD


def _remove_unless_held(folder, name):
    """Remove a folder, unless another process has a lock on its file of that name."""
    if fcntl is None:
        return
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(folder / name, os.O_RDWR)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use, or there is no telling
            return
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder(final):
    """A folder to prepare in where the file system has no locks; those of the dead are removed."""
    for other in final.parent.glob(f"{final.name}.*{_PART}"):
        if _is_left(other):
            shutil.rmtree(other, ignore_errors=True)
    part = final.with_name(f"{final.name}.{machine()}.{os.getpid()}{_PART}")
    part.mkdir(exist_ok=True)
    return part


def _is_left(part):
    """Whether a folder of `_own_folder` is that of a process that has ended."""
    # A name of the cache is NAME-SETTINGS-FINGERPRINT, with no other "-" and no "." after NAME.
    own = part.name.removesuffix(_PART).split("-", 2)[-1].partition(".")[2]
    of_machine, _, process = own.rpartition(".")
    if not of_machine or not process.isdigit():
        return False
    if (of_machine, int(process)) == (machine(), os.getpid()):
        return False
    return is_abandoned(int(process), of_machine, time.time() - _age(part))


def _age(folder):
    """Seconds since something was last written into a folder."""
    touched = 0.0
    with contextlib.suppress(OSError):
        for path in (folder, *folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                touched = max(touched, path.stat().st_mtime)
    return time.time() - touched
