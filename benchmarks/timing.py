"""Times of repeated runs, and what is said of them: median and spread."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Summary:
    """Median and spread of some values.

    Attributes:
        median: in the values' unit.
        spread: half the distance between the quartiles over the median; None of one value.
        count: how many values there were.
    """

    median: float
    spread: float | None
    count: int


def summarize(values: Sequence[float]) -> Summary:
    """The `Summary` of at least one value, all above 0."""
    median = quantile(values, 0.5)
    if len(values) == 1:
        return Summary(median, None, 1)
    distance = quantile(values, 0.75) - quantile(values, 0.25)
    return Summary(median, distance / 2 / median, len(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share in [0, 1] of the values lies, interpolated linearly.

    Raises:
        ValueError: without values.
    """
    if not values:
        raise ValueError("no values to summarize")
    values = sorted(values)
    position = share * (len(values) - 1)
    low = math.floor(position)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (position - low)


def repeat(
    function: Callable[[], object],
    seconds: float,
    least: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Call a function until the seconds are over, and at least `least` times.

    Returns:
        the seconds of each call.
    """
    times = []
    start = before = clock()
    while len(times) < least or before - start < seconds:
        function()
        now = clock()
        times.append(now - before)
        before = now
    return times
