"""Threads for work that releases the GIL: decoding, decompressing, reading."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def cpu_count() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function: Callable, arguments: Iterable, workers: int | None = None) -> Iterator:
    """Yields function(argument) in order, computed by threads that run only a few results ahead."""
    workers = workers or cpu_count()
    pool = ThreadPoolExecutor(workers)
    try:
        pending = deque()
        for argument in arguments:
            pending.append(pool.submit(function, argument))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
