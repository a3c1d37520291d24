"""Whether the process that wrote something still runs: asked of this machine, guessed of others.

A machine is told apart from others by what its kernel says of its last start and of the table in
which its processes have their numbers: host names are not enough, for containers on different
machines often have the same one, and one container has another each time it is started.
"""

import functools
import hashlib
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SILENCE = 600.0  # after so many seconds without a sign, a process on another machine has ended
BEAT = 60.0  # seconds between two signs of one that gives them


def is_running(process: int) -> bool:
    """Whether this machine has another process of that number.

    Example:
        >>> is_running(os.getppid()), is_running(os.getpid())
        (True, False)
    """
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def me() -> dict[str, Any]:
    """Who this process is, for JSON: {"process", "started", "host", "table"}.

    Example:
        >>> me()["process"] == os.getpid()
        True
    """
    number = os.getpid()
    return {
        "process": number,
        "started": start_of(number),
        "host": platform.node(),
        "table": _table(),
    }


def machine() -> str:
    """A name of this machine, since it was started, and of its table of processes.

    Example:
        >>> machine().startswith(platform.node())
        True
    """
    known = [part for part in (_boot(), _table()) if part is not None]
    digest = hashlib.sha256(" ".join(known).encode()).hexdigest()[:12]
    return f"{platform.node()}.{digest}" if known else platform.node()


def is_abandoned(process: int, of_machine: str, touched: float) -> bool:
    """Whether what a process left unfinished can be removed.

    Args:
        process: its number.
        of_machine: `machine` where it ran.
        touched: when what it left was last written, in seconds since 1970.

    Example:
        >>> is_abandoned(os.getppid(), machine(), touched=0.0)
        False
        >>> is_abandoned(1, "elsewhere", time.time()), is_abandoned(1, "elsewhere", touched=0.0)
        (False, True)
    """
    if of_machine == machine():
        return not is_running(process)
    return abs(time.time() - touched) >= SILENCE  # a clock that is far ahead keeps nothing either


def lives(holder: Mapping[str, Any], touched: float, has_locks: bool) -> bool:
    """Whether a process still runs that touches a file once every `BEAT` seconds.

    Args:
        holder: what its `me` was; what is missing is not known.
        touched: when it last did, in seconds since 1970.
        has_locks: whether a lock on the file, shared by all processes of a machine, would tell of
            any that runs here; there is none.
    """
    ours, theirs = _boot(), _boot_of(holder.get("started"))
    is_same_name = holder.get("host") == platform.node()
    is_known = None not in (ours, theirs)
    is_here = ours == theirs if is_known else is_same_name
    if is_here and has_locks:
        return False
    is_same_table = holder["table"] == _table() if "table" in holder else is_same_name
    if is_here and is_same_table:
        return _is_process(holder.get("process"), holder.get("started"))
    silence = abs(time.time() - touched)
    if is_known and is_same_name and not is_here and touched < _up_since():
        # Of this machine before it was started again; or of another one of its name, which would
        # have given a sign by now.
        return silence < 2 * BEAT
    return silence < SILENCE


def start_of(process: int) -> str | None:
    """When a process was started, in words that are compared only; None where that is not known."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return None
    boot = _boot()
    return boot and f"{boot} {stat.rpartition(')')[2].split()[19]}"


def _is_process(number, started):
    """Whether the process of that number runs, and is not a later one of the same number."""
    if not isinstance(number, int) or not (number == os.getpid() or is_running(number)):
        return False
    now = start_of(number)
    return None in (now, started) or now == started


@functools.cache
def _boot():
    """The machine since it was last started; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def _boot_of(start):
    """The `_boot` of a `start_of`; None where that is not known."""
    return start.split()[0] if isinstance(start, str) and start.strip() else None


def _table():
    """The table in which processes have their numbers: containers of one machine have several."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _up_since():
    """When this machine was started, in seconds since 1970, where `_boot` is known."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
