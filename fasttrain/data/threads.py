"""Threads for work that releases the GIL: decoding, decompressing, reading."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor


def cpu_count():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function, arguments, workers=None):
    """Yields function(argument) in order, computed by threads that run only a few results ahead of who takes them."""
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
