"""Who reads images in Python at the moment, and how the process ends meanwhile.

tf.data's threads prepare batches until the process ends. One that is in Python when Python ends is
never heard of again, and TensorFlow would wait for it for ever: so it is awaited before, and what
comes then is not read any more.
"""

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator

_QUIET, _LONGEST_END = 0.05, 3.0  # seconds at the end of the process


class _State:
    """Of this process: calls so far, those that are running, and whether the end has come."""

    lock = threading.Lock()
    running = calls = 0
    has_ended = False


@contextlib.contextmanager
def reading() -> Iterator[bool]:
    """While the body runs, the end of the process is put off.

    Yields:
        whether there is still something to read for: not once the process is ending.

    Example:
        >>> with reading() as goes_on:
        ...     goes_on
        True
    """
    with _State.lock:
        _State.calls += 1
        goes_on = not _State.has_ended
        _State.running += goes_on
    try:
        yield goes_on
    finally:
        with _State.lock:
            _State.running -= goes_on


@atexit.register
def _finish():
    """Wait until no more is asked for: what is made ahead is made."""
    _State.has_ended = True
    end, before = time.monotonic() + _LONGEST_END, None
    while time.monotonic() < end and (_State.running or _State.calls != before):
        before = _State.calls
        if before:
            time.sleep(_QUIET)
