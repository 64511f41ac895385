"""Where things lie on disk, and how they get there: the cache folder, atomic folders and files, locks, free space."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from fasttrain import format
from fasttrain.errors import DataError

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


def cache_dir():
    """The folder for packs, drawn and fetched data; it need not exist yet.

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


def use_compile_cache():
    """Compiled kernels stay in fasttrain's cache for the next run, unless the user names another place for them."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # where nobody chose a place, importing inductor sets the variable to one that a reboot empties
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir() / "compile")


def use_kernel_cache():
    """numba keeps its kernels beside the source or in the home; where neither can be written, in fasttrain's cache."""
    import numba

    home = Path(os.path.expanduser("~"))
    beside = Path(__file__).parent
    if not numba.config.CACHE_DIR and not any(os.access(folder, os.W_OK) for folder in (beside, home)):
        numba.config.CACHE_DIR = str(cache_dir() / "numba")


def _can_create(folder):
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def make_folder(folder):
    """Creates `folder` and its parents if need be; DataError names the remedy if that cannot be."""
    with clear_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def clear_errors(path):
    """Turns the system's errors on writing below `path` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise DataError(f"{path}: no space left: free some, or set FASTTRAIN_CACHE to a larger disk") from error
        if error.errno in READ_ONLY:
            reason = os.strerror(error.errno).lower()
            raise DataError(f"{path}: cannot write ({reason}): set FASTTRAIN_CACHE to a folder of yours") from error
        raise DataError(f"{path}: {error.strerror or error}") from error


def need_space(folder, size, remedy="set FASTTRAIN_CACHE to a larger disk"):
    """Raises DataError unless the disk of `folder` has `size` bytes free; `remedy` says where else to write."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DataError(f"{folder}: needs {format.size(size)}, {format.size(free)} are free: "
                        f"free some space, or {remedy}")


@contextlib.contextmanager
def locked(path, on_wait=None):
    """Holds the lock file `path` against other processes; `on_wait()` is called once if another one holds it."""
    with contextlib.ExitStack() as stack:
        with clear_errors(path.parent):
            handle = stack.enter_context(open(path, "ab"))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_wait is not None:
                    on_wait()
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def atomic_folder(folder):
    """Yields a new empty folder beside `folder` that takes its place if the block succeeds, and is removed if not.

    The caller holds the lock of `folder`: what an interrupted build left there is then stale, and is removed. Files in
    it must be flushed to disk by whoever writes them; the names are made durable here.
    """
    temporary, replaced = (folder.with_name(f"{folder.name}.{end}") for end in ("new.tmp", "old.tmp"))
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    with clear_errors(folder.parent):
        temporary.mkdir()
    try:
        yield temporary
        with clear_errors(folder.parent):
            for parent, _, _ in os.walk(temporary):
                sync(parent)
            if folder.exists():
                folder.rename(replaced)
            temporary.rename(folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def atomic_write(path, data):
    """Replaces the file `path` by `data` (bytes) in one step: after a crash it is the old one or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path):
    """Makes what a file holds, or the names in a folder, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(path):
    """Turns an error of the file system into a DataError of one line."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error.strerror or error}; free some space or choose another --out") \
            from None


def write_atomically(path, content):
    """Writes a file, of text or bytes, that is the old or the new one, never a part; DataError if that cannot be."""
    part = path.with_name(path.name + ".tmp")
    with writing(path):
        try:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
