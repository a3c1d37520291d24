"""Calls at the same time, a limited number of them."""

import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def in_flight(
    function: Callable[[Item], Any],
    items: Iterable[Item],
    limit: int,
    cancel: Callable[[], None],
) -> Iterator[tuple[Item, Any]]:
    """Yield (item, function(item)) as the calls end, in any order, `limit` of them at a time.

    When a call raises, no other is begun, and those that ended with it are yielded first. Then, or
    when the consumer stops early, cancel() must end the calls under way; they are waited for.

    Example:
        >>> sorted(in_flight(abs, [-3, 2, -1], limit=2, cancel=lambda: None))
        [(-3, 3), (-1, 1), (2, 2)]
    """
    waiting = iter(items)
    with concurrent.futures.ThreadPoolExecutor(limit) as pool:
        running = {}

        def submit(count):
            for item in itertools.islice(waiting, count):
                running[pool.submit(function, item)] = item

        try:
            submit(limit)
            while running:
                done, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                failed = [future for future in done if future.exception() is not None]
                for future in [*(done - set(failed)), *failed]:
                    item, result = running.pop(future), future.result()
                    if not failed:
                        submit(1)
                    yield item, result
        finally:
            if running:
                cancel()
