"""An end that was asked for: Ctrl-C, SIGTERM, a terminal that was closed (SIGHUP).

The first signal asks a command to end, and it ends within ten seconds. What that means is for the
block of code that runs: usually `Interrupted` is raised, so that files which are half written are
removed; in `deferred` blocks the code asks `check` where it can stop; in `at_once` blocks, where
nothing can be lost, the process ends there and then. Python runs its handlers between two of
its own instructions, not within a call of TensorFlow that may take minutes: therefore a command
also has a thread (`watched`) that ends the process when the main thread does not come to it.

A second signal kills; in a notebook, where there is no such thread and the process is more than the
call, a second Ctrl-C raises KeyboardInterrupt. One that comes within a second of the first is the
same wish: a shell and the kernel both tell of a closed terminal, and `timeout` tells a process and
then its group.
"""

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from ncsn_tf.backend import reactions
from ncsn_tf.backend.reactions import NUMBERS, Interrupted, State, end_of
from ncsn_tf.backend.watcher import watch


def asked() -> str:
    """The name of the signal that asked for an end; "" where none did."""
    return "" if State.asked is None else signal.Signals(State.asked).name


def check() -> None:
    """Raise `Interrupted` if an end was asked for: for the places where long work can be left."""
    reaction = State.reaction
    if State.asked is not None:
        raise Interrupted(*end_of(reaction, State.asked))
    if reaction.elsewhere is not None and reaction.elsewhere():
        raise Interrupted("an end was asked for elsewhere", 0)


def reclaim() -> None:
    """Have the signals again that a library has taken for itself in native code, unseen by Python.

    TensorFlow takes SIGTERM when it starts a server for other workers.
    """
    for number in NUMBERS:
        if signal.getsignal(number) == _handle:
            signal.signal(number, _handle)


def settle() -> None:
    """All is saved and said: the process may take its time to end by itself."""
    State.is_settled = True


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Around a command: signals raise `Interrupted`, and the process ends even if that waits.

    Signals are handled in the main thread only; elsewhere, nothing happens.
    """
    with handling() as is_handling:
        if not is_handling:
            yield
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        stderr = os.dup(2)  # file descriptor 2 itself may be elsewhere: see `quiet`
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        thread = threading.Thread(target=watch, args=(read, stderr), daemon=True)
        thread.start()
        State.is_watched = True
        try:
            yield
        finally:
            State.is_watched = False
            signal.set_wakeup_fd(before)
            os.close(write)  # ends the thread
            thread.join()
            os.close(read)
            os.close(stderr)


@contextlib.contextmanager
def handling() -> Iterator[bool]:
    """Signals have the meaning of this module; not those that are ignored, as under nohup.

    Yields:
        whether they have it from here on: not in other threads, and not if they had it already.
    """
    if State.is_handling or threading.current_thread() is not threading.main_thread():
        yield False
        return
    numbers = [number for number in NUMBERS if signal.getsignal(number) != signal.SIG_IGN]
    State.is_handling = True
    previous = {number: signal.signal(number, _handle) for number in numbers}
    try:
        yield True
    finally:
        for number, handler in previous.items():
            # None: a handler that was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        State.is_handling, State.asked, State.is_settled = False, None, False


@contextlib.contextmanager
def deferred(
    on_overdue: Callable[[str], str | None] | None = None,
    elsewhere: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """In this block a signal raises nothing: `asked` and `check` tell of it.

    Args:
        on_overdue: called in another thread, with the signal's name, when the block has gone on for
            `reactions.GRACE` seconds after it: does what can still be done and returns the last
            line for the user, with which the process ends as one that was broken off; or raises
            `Interrupted` with line and code; or returns None, and is called again. None leaves
            what the code around the block does then, and where it does nothing the process ends.
        elsewhere: tells whether another process of the same work was asked to end; for `check`.
    """
    changes = {} if on_overdue is None else {"on_overdue": on_overdue}
    if elsewhere is not None:
        changes["elsewhere"] = elsewhere
    with handling(), _reacting(is_deferred=True, **changes):
        yield


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """In this block, within a deferred one, a signal raises `Interrupted` again."""
    with _reacting(is_deferred=False, on_overdue=None, elsewhere=None):
        yield


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """In this block a command ends at the signal itself: nothing can be lost, nothing is cleared.

    For long calls of TensorFlow and for imports, which must not meet exceptions.
    """
    is_at_once = not State.reaction.is_deferred
    with _reacting(is_at_once=is_at_once):
        yield
    if is_at_once:
        check()  # the thread may come to a signal of the last moment only now


@contextlib.contextmanager
def outcome(line: str, code: int | None = None) -> Iterator[None]:
    """In this block an end is told by that line, in which {name} is the signal's, and that code.

    Args:
        line: for the user.
        code: the exit code; None is 128 and the signal's number, as for work broken off.
    """
    with _reacting(line=line, code=code):
        yield


@contextlib.contextmanager
def _reacting(**changes):
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are for the main thread: what another one does is not asked
        return
    before = State.reaction
    State.reaction = dataclasses.replace(before, **changes)
    try:
        yield
    finally:
        State.reaction = before


def _handle(number, _frame):
    """Python's handler: runs in the main thread, when that is between two instructions."""
    if State.asked is not None:
        if time.monotonic() - State.asked_at >= reactions.SAME_WISH:
            if number == signal.SIGINT and not State.is_watched:
                raise KeyboardInterrupt
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    State.asked, State.asked_at = number, time.monotonic()
    reaction = State.reaction
    if reaction.is_deferred or (reaction.is_at_once and State.is_watched):
        return
    raise Interrupted(*end_of(reaction, number))
