"""One process at a time does something: it holds a file, which says who it is.

The file is {"process", "started", "host", "table", "since", "token"}, as JSON. The system's lock
on it (flock) ends with the process that holds it. Where a file system has none, or one that other
machines do not see, what the file says counts: on the same machine as long as that process runs,
from another machine as long as the file is touched, which its holder does every minute.
"""

import contextlib
import errno
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path

from ncsn_tf.errors import UserError
from ncsn_tf.files import processes

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_SETTLE = 0.3  # seconds in which two that start at once have written what they are
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_HEAD = b'{"process": '  # how every file of this kind begins
_LARGEST = 2**16  # bytes


@contextlib.contextmanager
def hold(path: str | PathLike, doing: str, instead: str) -> Iterator[Callable[[], None]]:
    """Hold a file while the body runs; its folder is made if it is missing.

    Args:
        path: the file; there is none of that name while nobody holds it.
        doing: what only one may do at a time, such as "runs/a is being trained".
        instead: what the user of another process can do, such as "name another --workdir".

    Yields:
        a function that raises a UserError if another process has taken the file over meanwhile,
        because this one was stopped for minutes on a machine that cannot be asked.

    Raises:
        UserError: another process holds it, it cannot be written, or another program has a file of
            its own there, which is left as it is.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with hold(Path(folder, ".lock"), "it is being done", "wait") as check:
        ...         os.listdir(folder), check()
        ...     os.listdir(folder)
        (['.lock'], None)
        []
    """
    path = Path(path)
    words = _Words(path, doing, instead)
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, has_locks = _open(path, words)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, missing)
        stack.callback(os.close, descriptor)
        me = _claim(path, descriptor, has_locks, words)

        def check():
            holder = _holder(path)
            if holder.get("token", me["token"]) != me["token"]:
                raise UserError(f"{words.taken(holder)}; this one was stopped for too long")

        stack.callback(_remove, path, me["token"])
        stack.enter_context(_beating(path))
        yield check


class _Words:
    """What is said to those who cannot have the file."""

    def __init__(self, path, doing, instead):
        self._path, self._doing, self._instead = path, doing, instead

    def taken(self, holder):
        if "process" not in holder:  # it is just starting
            return f"{self._doing} by another process"
        return (
            f"{self._doing} by process {holder['process']} on host {holder.get('host')} "
            f"since {holder.get('since')}"
        )

    def held(self, holder):
        return f"{self.taken(holder)}; wait for it to end, or {self._instead}"

    def foreign(self):
        return (
            f"{self._path} is another program's file, which is left as it is: move it away, or "
            f"{self._instead}"
        )


def _open(path, words):
    """(descriptor of the file, whether the file system has locks), locked if it has."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            if not _is_ours(os.pread(descriptor, _LARGEST, 0)):
                raise UserError(words.foreign())
            has_locks = _flock(descriptor)
            # Its last holder may have removed the file after it was opened here.
            if _is_same_file(path, descriptor):
                return descriptor, has_locks
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(words.held(_holder(path))) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_ours(content):
    """Whether a file of this kind holds these bytes: all of it, or what a power cut left."""
    content = content.rstrip(b"\0")
    if not content.startswith(_HEAD):
        return _HEAD.startswith(content)
    try:
        return "token" in json.loads(content)
    except (ValueError, RecursionError):
        return True  # cut short


def _flock(descriptor):
    """Lock a file: whether there are such locks; a BlockingIOError if another process has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _is_same_file(path, descriptor):
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _claim(path, descriptor, has_locks, words):
    """Write into the file who holds it: what was written. A UserError if another does."""
    holder = _holder(path)
    if holder and processes.lives(holder, os.fstat(descriptor).st_mtime, has_locks):
        raise UserError(words.held(holder))
    since, token = time.strftime("%Y-%m-%d %H:%M:%S"), secrets.token_hex(8)
    me = {**processes.me(), "since": since, "token": token}
    try:
        os.ftruncate(descriptor, 0)
        text = json.dumps(me).encode()
        if os.pwrite(descriptor, text, 0) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if has_locks:  # otherwise it may be another's by now
            with contextlib.suppress(OSError):
                path.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    if not has_locks:  # two that began at once have both written: the last one has it
        time.sleep(_SETTLE)
        holder = _holder(path)
        if holder.get("token") != token:
            raise UserError(words.held(holder))
    return me


def _holder(path):
    """What the file says, a dict; empty where it says nothing that can be understood."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


@contextlib.contextmanager
def _beating(path):
    """Touch the file every minute while the body runs."""
    ended = threading.Event()

    def beat():
        while not ended.wait(processes.BEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _remove(path, token):
    """Remove the file, unless it is another process's by now."""
    if _holder(path).get("token") == token:
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_empty(folders):
    """Remove folders that were made for the file and hold nothing, from the innermost."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
