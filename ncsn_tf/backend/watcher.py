"""The thread that ends a process in time when its main thread does not come to a signal."""

import contextlib
import os
import selectors
import signal
import threading
import time

from ncsn_tf.backend import reactions
from ncsn_tf.backend.reactions import NUMBERS, Interrupted, State, end_of
from ncsn_tf.errors import plain

_POLL = 0.5
_LAST_WORDS = 1.0  # seconds for the last line, which nobody may be reading


def watch(read: int, stderr: int) -> None:
    """The thread: sees each signal as it comes, from the file descriptor that the kernel's handler
    writes to, and ends the process where the main thread does not."""
    number = seen_at = deadline = None
    with selectors.DefaultSelector() as selector:
        selector.register(read, selectors.EVENT_READ)
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            if selector.select(wait):
                signals = os.read(read, 64)
                if not signals:
                    return  # the command has ended
                for sent in filter(NUMBERS.__contains__, signals):
                    now = time.monotonic()
                    if number is None:
                        number, seen_at, deadline = sent, now, now + reactions.GRACE
                    elif now - seen_at >= reactions.SAME_WISH:
                        _exit(stderr, "", 128 + sent)
            if number is None:
                continue
            reaction = State.reaction
            if reaction.is_at_once:
                _exit(stderr, *end_of(reaction, number))
            if time.monotonic() >= deadline:
                if not State.is_settled:
                    _exit_overdue(reaction, number, stderr)
                deadline = time.monotonic() + _POLL


def _exit_overdue(reaction, number, stderr):
    """End the process unless its reaction wants to wait."""
    if reaction.on_overdue is None:
        _exit(stderr, *end_of(reaction, number))
        return
    try:
        line, code = reaction.on_overdue(signal.Signals(number).name), 128 + number
    except Interrupted as end:
        line, code = end.line, end.code
    if line is not None:
        _exit(stderr, line, code)


def _exit(stderr, line, code):
    """End the process from this thread, whatever the main thread does."""
    if line:
        start = "\n" if os.isatty(stderr) else ""  # after a progress bar
        text = f"{start}{plain(line)}\n".encode(errors="backslashreplace")
        # In a thread: a full pipe that nobody reads would take the write and never end it.
        writer = threading.Thread(target=_write, args=(stderr, text), daemon=True)
        writer.start()
        writer.join(_LAST_WORDS)
    os._exit(code)


def _write(descriptor, text):
    with contextlib.suppress(OSError):
        os.write(descriptor, text)
