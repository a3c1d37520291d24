"""Requests that failed and may yet succeed are sent again."""

import itertools
import random
import threading
from collections.abc import Callable
from typing import Any

from ncsn_tf.serving.transport import CAN_PASS, RequestError

LONGEST_PAUSE = 30.0  # seconds


class Retries:
    """Sends failed requests again. Threads may share it.

    Repetition n = 0, 1, ... comes after min(backoff 2^n, 30) seconds times a random number in
    [0.5, 1].

    Args:
        most: how often a request is sent again.
        backoff: seconds before the first repetition.
        closed: once it is set, pauses end, and what fails is not sent again.
        sleep: called with seconds; by default a sleep that `closed` ends.
        jitter: a random number in [0, 1).

    Attributes:
        count: repetitions so far.

    Example:
        >>> Retries(3, backoff=1.0, closed=threading.Event()).call(max, 1, 2)
        2
    """

    def __init__(
        self,
        most: int,
        backoff: float,
        closed: threading.Event,
        *,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ):
        self._closed = closed
        self._most = most
        self._backoff = backoff
        self._jitter = jitter
        self._lock = threading.Lock()
        self.sleep = closed.wait if sleep is None else sleep
        self.count = 0

    def call(self, function: Callable, *args: Any) -> Any:
        """function(*args), called again after each `RequestError` that can pass."""
        for attempt in itertools.count():
            try:
                return function(*args)
            except RequestError as error:
                if error.kind not in CAN_PASS or self._closed.is_set():
                    raise
                if attempt == self._most:
                    tried = f" (tried {attempt + 1} times)" if attempt else ""
                    raise RequestError(error.kind, f"{error}{tried}") from None
            with self._lock:
                self.count += 1
            self.sleep(self.pause(attempt))

    def pause(self, attempt: int) -> float:
        """Seconds before repetition `attempt`, from 0."""
        # 2.0**attempt overflows at 1024.
        pause = self._backoff * 2.0 ** min(attempt, 60)
        return min(pause, LONGEST_PAUSE) * (0.5 + 0.5 * self._jitter())
