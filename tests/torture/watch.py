"""What `watch.c` sees and does, from Python. It has to be preloaded: `start` runs a program that way."""

import contextlib
import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PASS, FAIL, SHORT, KILL, KILL_HALF = range(5)
SOURCE = Path(__file__).with_name("watch.c")
# no thread may run when children are forked, and none of their libraries may start one for each core
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Fate:
    """What becomes of call number `nth` below the watched folder. error: an errno, for FAIL and after SHORT."""

    what: int = PASS
    nth: int = -1
    error: int = 0


UNTOUCHED = Fate()


@dataclass(frozen=True)
class Call:
    """One call. other: the second path of a rename or link. data: what a write wrote, if bytes were kept."""

    name: str
    path: Path
    other: Path
    data: bytes = b""


def library() -> Path:
    """Returns the compiled library, built once for each version of its source."""
    version = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"fasttrain-watch-{os.getuid()}-{version}.so"
    if not path.exists():
        new = path.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", new, SOURCE, "-ldl"], check=True)
        new.rename(path)
    return path


def environment() -> dict[str, str]:
    """Returns the environment of a process that is to be watched."""
    return {**os.environ, **ALONE, "LD_PRELOAD": str(library())}


def start(*words: str) -> int:
    """Runs this Python with the library preloaded; returns its exit code."""
    return subprocess.run([sys.executable, *words], env=environment()).returncode


def loaded() -> bool:
    """Returns whether this process runs with the library."""
    return str(library()) == os.environ.get("LD_PRELOAD")


def arm(folder: Path, fate: Fate = UNTOUCHED, notes: int = -1, with_bytes: bool = False) -> None:
    """Watches `folder` from now on. notes: the descriptor that calls are written to."""
    handle = ctypes.CDLL(None)
    handle.watch_arm(os.fsencode(folder), fate.what, fate.error, ctypes.c_long(fate.nth), notes, with_bytes)


def disarm() -> None:
    """Watches nothing any more."""
    ctypes.CDLL(None).watch_arm(b"", PASS, 0, ctypes.c_long(-1), -1, 0)


@contextlib.contextmanager
def noting(folder: Path, notes: Path, fate: Fate = UNTOUCHED, with_bytes: bool = False):
    """Watches `folder` in the block, and writes the calls to the file `notes`."""
    handle = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    try:
        arm(folder, fate, handle, with_bytes)
        yield
    finally:
        disarm()
        os.close(handle)


def read(notes: Path) -> list[Call]:
    """Returns the calls that were noted."""
    content, calls, at = notes.read_bytes(), [], 0
    while at < len(content):
        end = content.index(b"\n", at)
        name, path, other, size = content[at:end].split(b"\t")
        at = end + 1 + int(size)
        calls.append(Call(name.decode(), Path(os.fsdecode(path)), Path(os.fsdecode(other)), content[end + 1:at]))
    return calls
