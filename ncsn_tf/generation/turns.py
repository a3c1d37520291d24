"""Whose turn it is to draw: one at a time, and the others wait in the order in which they came.

Nothing here knows of a page: it is what the page of `ncsn app` does.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from ncsn_tf.errors import UserError


class Stoppable(Protocol):
    """What can be stopped from any thread."""

    def stop(self) -> None:
        """End it soon."""


class Place:
    """A place in a `Line`, of one owner.

    Attributes:
        owner: whose it is.
        is_stopped: whether its owner has stopped it.
    """

    def __init__(self, line: "Line", owner: str | None) -> None:
        self._line = line
        self._work: Stoppable | None = None
        self.owner = owner
        self.is_stopped = False

    @property
    def has_turn(self) -> bool:
        """Whether it is the first of the line."""
        return self._line.first() is self

    def wait(self) -> bool:
        """Wait for its turn, or until it is stopped; returns whether its turn has come."""
        self._line.wait_for(lambda: self.is_stopped or self.has_turn)
        return not self.is_stopped

    def stop(self) -> None:
        """Stop it, whether it waits or works."""
        self.is_stopped = True
        if self._work is not None:
            self._work.stop()
        self._line.tell()

    def begin(self, work: Stoppable) -> None:
        """Say what is done in its turn, which is stopped with it, or at once if it is stopped."""
        self._work = work
        if self.is_stopped:  # meanwhile
            work.stop()


class Line:
    """Places in the order in which they were taken; the first has its turn.

    A place lasts as long as the `with` block in which it was taken, however that ends.

    Args:
        most_waiting: places beside the first.

    Example:
        >>> line = Line(most_waiting=1)
        >>> with line.place("ann") as first, line.place("ben") as second:
        ...     first.has_turn, second.has_turn, len(line)
        (True, False, 2)
        >>> len(line)
        0
    """

    def __init__(self, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._places: list[Place] = []
        self._changed = threading.Condition(threading.RLock())
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._places)

    @contextlib.contextmanager
    def place(self, owner: str | None) -> Iterator[Place]:
        """Take the last place.

        Raises:
            UserError: as many wait as may, or the line is closed.
        """
        place = Place(self, owner)
        with self._changed:
            if self._is_closed:
                raise UserError("nothing is drawn any more: ncsn app ends")
            if len(self._places) > self._most_waiting:
                raise UserError(
                    f"{self._most_waiting} wait already: try again when one of them is drawn"
                )
            self._places.append(place)
        try:
            yield place
        finally:
            with self._changed:
                self._places.remove(place)
                self._changed.notify_all()

    def stop(self, owner: str | None) -> int:
        """Stop all places of an owner; returns how many there are."""
        places = [place for place in self._all() if place.owner == owner]
        for place in places:
            place.stop()
        return len(places)

    def close(self) -> None:
        """Stop all places, and give none any more."""
        self._is_closed = True
        for place in self._all():
            place.stop()

    # For its places.

    def first(self) -> Place | None:
        """The place that has its turn; None where there is none."""
        with self._changed:
            return self._places[0] if self._places else None

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, which is looked at whenever the line changes."""
        with self._changed:
            self._changed.wait_for(condition)

    def tell(self) -> None:
        """Have all who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def _all(self):
        with self._changed:
            return list(self._places)
