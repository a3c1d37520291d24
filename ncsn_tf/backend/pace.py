"""How much work one call of TensorFlow takes: as much as is done in a second or two."""

import contextlib
import time
from collections.abc import Callable, Iterator


class Pace:
    """Learns from each call how many steps the next one may take.

    Python handles no signal within a call: what is asked for meanwhile waits for its end.

    Args:
        seconds: that a call takes, about, or the time of one step where that is longer.
        clock: seconds; tests give their own.

    Attributes:
        most: steps of the next call at most; 1 until it is known how long they take.

    Example:
        >>> times = iter([0.0, 2.0])
        >>> pace = Pace(3.0, lambda: next(times))
        >>> with pace.call(8):
        ...     "eight steps in two seconds"
        'eight steps in two seconds'
        >>> pace.most
        12
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter):
        self.seconds = seconds
        self.clock = clock
        self.most = 1

    @contextlib.contextmanager
    def call(self, steps: int) -> Iterator[None]:
        """Around a call that takes so many steps."""
        began = self.clock()
        yield
        took = max(self.clock() - began, 1e-6)
        self.most = max(1, int(self.seconds * steps / took))
