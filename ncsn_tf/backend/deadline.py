"""A limit to the time that a call may take which keeps all of Python from running.

TensorFlow holds Python's lock while it waits, without end, for other workers: no thread of Python
and no handler of a signal comes to run. What ends the process then is a timer of the system, which
calls functions of the C library in a thread of its own.
"""

import contextlib
import ctypes
import os
import shlex
import signal
from collections.abc import Iterator

_SAY = 1.0  # seconds for the last line
_CLOCK_MONOTONIC, _SIGEV_THREAD = 1, 2


class _Event(ctypes.Structure):
    """`struct sigevent` of Linux: a function that is called with a value."""

    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("rest", ctypes.c_char * 64),
    ]


class _Times(ctypes.Structure):
    """`struct itimerspec`: the interval and the time, in seconds and nanoseconds."""

    _fields_ = [("numbers", ctypes.c_long * 4)]


@contextlib.contextmanager
def at_most(seconds: float, line: str, code: int) -> Iterator[None]:
    """End the process with a line on stderr and an exit code if the body takes longer.

    Where the system has no such timers (a Mac), SIGALRM ends it, without the line.

    Example:
        >>> with at_most(60, "error: too long", 75):
        ...     "soon done"
        'soon done'
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "timer_create"):
        is_free = signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
        if is_free:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            if is_free:
                signal.setitimer(signal.ITIMER_REAL, 0)
        return
    stderr = os.dup(2)  # file descriptor 2 is elsewhere while TensorFlow starts
    os.set_inheritable(stderr, True)
    command = ctypes.create_string_buffer(f"echo {shlex.quote(line)} >&{stderr}".encode())
    timers = [
        _call(library, "system", ctypes.addressof(command), seconds),
        _call(library, "_exit", code, seconds + _SAY),
    ]
    try:
        yield
    finally:
        for timer in timers:
            library.timer_delete(timer)
        os.close(stderr)


def _call(library, name, value, seconds):
    """A timer that calls a function of the C library after so many seconds."""
    function = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    event = _Event(value, 0, _SIGEV_THREAD, function)
    timer = ctypes.c_void_p()
    whole = int(seconds)
    times = _Times((0, 0, whole, int(1e9 * (seconds - whole))))
    if library.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), "timer_create")
    library.timer_settime(timer, 0, ctypes.byref(times), None)
    return timer
