"""One process at a time writes the checkpoints of a run.

<run>/.lock says who: {"process", "started", "host", "since", "token"}, as JSON. The system's lock
on that file (flock) ends with the process that holds it. Where a file system has none, or one that
other machines do not see, what the file says counts: on the same machine as long as that process
runs, from another machine as long as the file is touched, which its holder does every minute.
"""

import contextlib
import errno
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path

from ncsn_tf.errors import UserError
from ncsn_tf.files import is_running

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

NAME = ".lock"
BEAT = 60.0  # seconds between two touches of the file
SILENCE = 600.0  # after so many without one, a holder on another machine counts as dead
_SETTLE = 0.3  # seconds in which two that start at once have written what they are
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def run_lock(run_dir: str | PathLike) -> Iterator[Callable[[], None]]:
    """Hold a run's folder while the body runs; the folder is made if it is missing.

    Yields:
        a function that raises a UserError if another process has taken the run over meanwhile,
        because this one was stopped for minutes on a machine that cannot be asked.

    Raises:
        UserError: another process holds the run, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with run_lock(folder) as check:
        ...         os.listdir(folder), check()
        ...     os.listdir(folder)
        (['.lock'], None)
        []
    """
    run_dir = Path(run_dir)
    path = run_dir / NAME
    missing = [folder for folder in (run_dir, *run_dir.parents) if not folder.exists()]
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor, has_locks = _open(run_dir)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, missing)
        stack.callback(os.close, descriptor)
        me = _claim(run_dir, descriptor, has_locks)

        def check():
            holder = _holder(path)
            if holder.get("token", me["token"]) != me["token"]:
                raise UserError(f"{_taken(run_dir, holder)}; this one was stopped for too long")

        stack.callback(_remove, path, me["token"])
        stack.enter_context(_beating(path))
        yield check


def _open(run_dir):
    """(descriptor of the lock's file, whether the file system has locks), locked if it has."""
    path = run_dir / NAME
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            has_locks = _flock(descriptor)
            # Its last holder may have removed the file after it was opened here.
            if _is_same_file(path, descriptor):
                return descriptor, has_locks
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(_held(run_dir, _holder(path))) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


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


def _claim(run_dir, descriptor, has_locks):
    """Write into the file who holds the run: what was written. A UserError if another does."""
    path = run_dir / NAME
    holder = _holder(path)
    if holder and _lives(holder, os.fstat(descriptor).st_mtime, has_locks):
        raise UserError(_held(run_dir, holder))
    me = {
        "process": os.getpid(),
        "started": _start_of(os.getpid()),
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "token": secrets.token_hex(8),
    }
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
    if not has_locks:  # two that began at once have both written: the last one has the run
        time.sleep(_SETTLE)
        holder = _holder(path)
        if holder.get("token") != me["token"]:
            raise UserError(_held(run_dir, holder))
    return me


def _holder(path):
    """What the file says, a dict; empty where it says nothing that can be understood."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _lives(holder, touched, has_locks):
    """Whether the process that wrote the file still trains."""
    is_same_host = holder.get("host") == platform.node()
    boots = [_boot_of(holder.get("started")), _boot_of(_start_of(os.getpid()))]
    # Containers of one machine have other names; a machine that was started again has its name.
    is_here = is_same_host or (None not in boots and boots[0] == boots[1])
    if is_here and has_locks:
        return False  # the lock of a process of this machine would have kept us out
    if is_here and is_same_host:
        return _is_process(holder.get("process"), holder.get("started"))
    return abs(time.time() - touched) < SILENCE


def _is_process(number, started):
    """Whether the process of that number runs, and is not a later one of the same number."""
    if not isinstance(number, int) or not (number == os.getpid() or is_running(number)):
        return False
    now = _start_of(number)
    return None in (now, started) or now == started


def _start_of(process):
    """When a process was started, in words that are compared only; None where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return None
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"


def _boot_of(start):
    """The machine, since it was last started, of a `_start_of`; None where that is not known."""
    return start.split()[0] if isinstance(start, str) and start else None


@contextlib.contextmanager
def _beating(path):
    """Touch the file every minute while the body runs."""
    ended = threading.Event()

    def beat():
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, name="run lock", daemon=True)
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
    """Remove folders that were made for the lock and hold nothing, from the innermost."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _held(run_dir, holder):
    return f"{_taken(run_dir, holder)}; wait for it to end, or name another --workdir"


def _taken(run_dir, holder):
    if "process" not in holder:  # it is just starting
        return f"{run_dir} is being trained by another process"
    return (
        f"{run_dir} is being trained by process {holder['process']} on host {holder.get('host')} "
        f"since {holder.get('since')}"
    )
