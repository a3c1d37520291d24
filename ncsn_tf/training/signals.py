"""Ctrl-C and SIGTERM as a wish to end after the step at hand."""

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def deferred_signals(on_request: Callable[[str], None]) -> Iterator[None]:
    """SIGINT and SIGTERM ask for an end, once, by calling on_request; the second one kills.

    Args:
        on_request: called with the signal's name.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handle(number, _frame):
        for either in numbers:
            signal.signal(either, signal.SIG_DFL)
        on_request(signal.Signals(number).name)

    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
