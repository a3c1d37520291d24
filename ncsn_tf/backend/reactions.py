"""What a signal means to the code that runs, and what was asked for: the state of `signals`."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable

GRACE = 6.0  # seconds for the end of the main thread; the rest of ten is for saving in its stead
SAME_WISH = 1.0  # seconds after the first signal in which another one says nothing new
NUMBERS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """An end was asked for.

    Attributes:
        line: what to tell the user.
        code: the exit code.
    """

    def __init__(self, line: str, code: int):
        super().__init__(line)
        self.line = line
        self.code = code


@dataclasses.dataclass(frozen=True)
class Reaction:
    """What a signal does to the code that runs."""

    line: str = ""  # {name} is the signal's; "" is that of `end_of`
    code: int | None = None  # None is 128 and the signal's number
    is_deferred: bool = False
    is_at_once: bool = False
    on_overdue: Callable[[str], str | None] | None = None
    elsewhere: Callable[[], bool] | None = None  # whether another process was asked to end


class State:
    """Of this process, as signals are."""

    reaction = Reaction()
    asked: int | None = None  # the first signal
    asked_at = 0.0
    is_handling = False
    is_watched = False
    is_settled = False


def end_of(reaction: Reaction, number: int) -> tuple[str, int]:
    """(line, exit code) of an end."""
    name = signal.Signals(number).name
    usual = "interrupted" if number == signal.SIGINT else f"interrupted by {name}"
    line = reaction.line.replace("{name}", name) or usual
    return line, 128 + number if reaction.code is None else reaction.code
