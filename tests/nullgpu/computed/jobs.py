"""Work computed in place of kernels: when it is handed to a stream, or in a capture at each launch of the graph."""

import contextlib
import ctypes
import itertools

from tests.nullgpu.nullgpu import LIBRARY

JOBS, ERRORS = {}, []
DONE = set()
NUMBERS = itertools.count()


@ctypes.CFUNCTYPE(None, ctypes.c_longlong)
def compute(number):
    DONE.add(number)
    try:
        JOBS[number]()
    except BaseException as error:  # it cannot pass through C; see `raise_errors`
        ERRORS.append(error)


def install():
    LIBRARY.nullgpu_computed_by(compute)


def submit(stream, function):
    """Lets `function()` take its turn on a stream, given by its handle."""
    number = next(NUMBERS)
    JOBS[number] = function
    if LIBRARY.nullgpu_compute(ctypes.c_void_p(stream), ctypes.c_longlong(number)):
        raise RuntimeError("the capture that this was computed for has failed")
    if number in DONE:  # else it belongs to a graph
        DONE.discard(number), JOBS.pop(number)
    raise_errors()


def raise_errors():
    """Raises the first error of what was computed, at a graph's launch for instance."""
    with contextlib.suppress(IndexError):
        raise ERRORS.pop(0)
