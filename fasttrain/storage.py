"""Where files lie on disk and how they get there: the cache, one atomic writer, one lock, errors in one line."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fasttrain import format
from fasttrain.errors import DataError

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# what to do about a place that cannot be written: the cache, or what a command was told to write
CACHE, OUT = "set FASTTRAIN_CACHE to another folder", "choose another --out"


def cache_dir() -> Path:
    """Returns the folder for packs, drawn and fetched data; it need not exist yet.

    `$FASTTRAIN_CACHE`, else `$XDG_CACHE_HOME/fasttrain`, else `~/.cache/fasttrain`; where the home folder is missing or
    cannot be written, a folder of this user under the temporary folder.
    """
    if chosen := os.environ.get("FASTTRAIN_CACHE"):
        return Path(chosen).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "fasttrain"
    home = Path(os.path.expanduser("~"))
    if home.is_absolute() and home.is_dir() and _can_create(home / ".cache" / "fasttrain"):
        return home / ".cache" / "fasttrain"
    return Path(tempfile.gettempdir()) / f"fasttrain-{os.getuid()}"


def use_compile_cache() -> None:
    """Keeps what torch compiles in fasttrain's cache for the next run, unless the user names another place."""
    try:
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir
    except ImportError:  # private to torch: where it has moved, a variable that is set counts as the user's
        def default_cache_dir():
            return None

    # where nobody chose a place, importing inductor sets the variable to one that a reboot empties
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir() / "compile")


def use_kernel_cache() -> None:
    """Keeps numba's kernels in fasttrain's cache where neither the source folder nor the home can be written."""
    import numba

    home = Path(os.path.expanduser("~"))
    beside = Path(__file__).parent
    if not numba.config.CACHE_DIR and not any(os.access(folder, os.W_OK) for folder in (beside, home)):
        numba.config.CACHE_DIR = str(cache_dir() / "numba")


def _can_create(folder):
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


@contextlib.contextmanager
def writing(path: Path, remedy: str = OUT) -> Iterator[None]:
    """Turns an error of the file system on writing `path` into a DataError of one line that ends in `remedy`."""
    try:
        yield
    except OSError as error:
        full = error.errno in FULL_DISK
        reason = os.strerror(errno.ENOSPC) if full else error.strerror or error
        raise DataError(f"{path}: cannot write: {reason}; {'free some space or ' if full else ''}{remedy}") from error


def make_folder(folder: Path, remedy: str = CACHE) -> None:
    """Creates a folder and its parents if need be, durably; DataError, ending in `remedy`, where that cannot be."""
    with writing(folder, remedy):
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in new:
            sync(path.parent)


def need_space(folder: Path, size: int, remedy: str = CACHE) -> None:
    """Raises DataError, ending in `remedy`, unless the disk of `folder` has `size` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DataError(f"{folder}: needs {format.size(size)}, {format.size(free)} are free: "
                        f"free some space, or {remedy}")


def write_atomically(path: Path | str, content: str | bytes | memoryview, remedy: str = OUT,
                     former: Path | None = None) -> None:
    """Replaces a file durably: after a crash it is the old one or the new one, never a part.

    former: where the old one goes. Leaves no temporary file behind. Raises DataError, ending in `remedy`, where the
    disk says no.
    """
    path = Path(path)
    temporary = temporary_name(path)
    with writing(path, remedy):
        try:
            # a path that the locale cannot decode goes back to its bytes
            temporary.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
            sync(temporary)
            if former:
                keep(path, former)
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Returns where this process writes what is to become the file `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_temporaries(folder: Path) -> None:
    """Removes what killed processes left of their `write_atomically`; the caller has the folder for itself."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def keep(path: Path, former: Path) -> None:
    """Gives the file at `path` the name `former` too, in place of what is there; a missing one is left alone.

    Where the disk knows no second names, the file moves.
    """
    if not path.exists():
        return
    second = temporary_name(former)
    try:
        os.link(path, second)
    except OSError:
        os.replace(path, former)
        return
    try:
        os.replace(second, former)
    finally:
        second.unlink(missing_ok=True)  # a rename between two names of one file does nothing


def move_into_place(finished: Path, path: Path) -> None:
    """Renames a finished file over `path`, durably."""
    sync(finished)
    os.replace(finished, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Makes what a file holds, or the names in a folder, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_folder(folder: Path, remedy: str = CACHE) -> Iterator[Path]:
    """Yields a new empty folder beside `folder` that takes its place if the block succeeds, and is removed if not.

    The caller holds the lock of `folder`: what an interrupted build left there is then stale, and is removed. Whoever
    writes files in it flushes them to the disk; the names are made durable here. remedy: as in `writing`.
    """
    temporary, replaced = (folder.with_name(f"{folder.name}.{end}") for end in ("new.tmp", "old.tmp"))
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    with writing(folder.parent, remedy):
        temporary.mkdir()
    try:
        yield temporary
        with writing(folder.parent, remedy):
            for parent, _, _ in os.walk(temporary):
                sync(parent)
            if folder.exists():
                folder.rename(replaced)
            temporary.rename(folder)
            sync(folder.parent)
    except BaseException:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


class Busy(Exception):
    """Another process holds a lock; the text says which one."""


class Lock:
    """A lock file that one process at a time holds. The kernel lets go of it when that process ends, however it ends.

    path: the file, made if need be; while the lock is held it says who holds it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.handle: int | None = None

    def take(self, on_busy: Callable[[], None] | None = None) -> None:
        """Takes the lock. While another process holds it: raises Busy, or calls `on_busy` once and then waits.

        Raises OSError where the file cannot be opened.
        """
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_busy is None:
                    raise Busy(os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process") from None
                on_busy()
                fcntl.flock(handle, fcntl.LOCK_EX)
            with contextlib.suppress(OSError):  # a full disk takes no note of who holds the lock
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        except BaseException:
            os.close(handle)
            raise
        self.handle = handle
        os.register_at_fork(after_in_child=self.release)  # a loader's worker must not hold it longer than its parent

    def release(self) -> None:
        """Lets go of the lock; may be called twice."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None


@contextlib.contextmanager
def locked(path: Path, on_busy: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock file `path` of the cache, waiting for it if need be; see `Lock.take`."""
    lock = Lock(path)
    with writing(path.parent, CACHE):
        lock.take(on_busy)
    try:
        yield
    finally:
        lock.release()
