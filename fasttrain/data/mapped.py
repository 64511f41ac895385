"""The mapped files of a split, watched for changes under the run that reads them.

A page of a map that its file no longer has is SIGBUS, which ends a process without a word. Files that are deleted,
replaced or unmounted stay readable through their maps: only one that is cut or written in its place does harm.
"""

import contextlib
import ctypes
import os
import signal
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from fasttrain.errors import DataError

LIVING: "weakref.WeakSet[MappedFiles]" = weakref.WeakSet()
REMEDY = "run `fasttrain data pack --rebuild`, then the same command with --resume auto"


class MappedFiles:
    """The files behind the `arrays` that are memory maps, as they are now; other arrays have none."""

    def __init__(self, *arrays: np.ndarray | None):
        self.known = {}
        for array in arrays:
            if isinstance(array, np.memmap) and array.filename is not None:
                handle = os.open(array.filename, os.O_RDONLY)
                weakref.finalize(self, os.close, handle)
                self.known[handle] = os.fspath(array.filename), status(handle)
        LIVING.add(self)

    def check(self) -> None:
        """Raises DataError if a file was cut or written since."""
        for handle, (path, before) in self.known.items():
            if status(handle) != before:
                raise DataError(f"{path}: cut or altered while it was in use: {REMEDY}")

    def unaltered(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yields what the generator `batches` does, and checks the files before each; closes it when left."""
        with contextlib.closing(batches):
            while True:
                self.check()
                batch = next(batches, None)
                if batch is None:
                    return
                yield batch


def status(handle: int) -> tuple[int, int]:
    """Returns the size of an open file and when it was last written."""
    found = os.fstat(handle)
    return found.st_size, found.st_mtime_ns


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def on_bus_error(_: int) -> None:
    """Says in one line which file was cut, and ends the process: what it was about to read does not exist."""
    told = f"a file that is mapped into memory was cut, or its disk fails: {REMEDY}"
    for files in list(LIVING):
        try:
            files.check()
        except DataError as error:
            told = str(error)
    os.write(2, f"fasttrain: error: {told}\n".encode())
    os._exit(DataError.exit_code)


def tell_bus_errors() -> None:
    """Makes SIGBUS one line and exit code 3. A handler of Python's own would run after the instruction, so never."""
    ctypes.CDLL(None).signal(signal.SIGBUS, on_bus_error)
