"""Threads for work that releases the GIL: decoding, decompressing, reading."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from fasttrain.cores import cores


def map_in_order(function: Callable, arguments: Iterable, workers: int | None = None) -> Iterator:
    """Yields function(argument) in order, computed by threads that run only a few results ahead."""
    workers = workers or cores()
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
