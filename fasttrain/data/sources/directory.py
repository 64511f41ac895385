"""A folder tree on disk."""

import os
import stat
import weakref
from functools import cached_property
from pathlib import Path

from fasttrain.data.sources.base import Source, fingerprint_of
from fasttrain.data.sources.layout import IMAGE_ENDINGS, WNIDS, WORDS, is_wanted, read_layout
from fasttrain.errors import DataError

FOLDER = "tiny-imagenet-200"
VAL_FOLDERS = ("val", "validation", "valid", "test")  # the first that is there
MAX_DEPTH = 8
BLOCK = 1 << 16  # bytes; images of the usual sizes come in one


class DirectorySource(Source):
    """`tiny-imagenet-200/` or an ImageFolder tree below `root`. Names are scanned once, images read when asked for.

    train, val: where their images lie below the root, such as "val/"; None where there are none.
    """

    kind = "directory"

    def __init__(self, root: Path, train: str = "train/", val: str | None = "val/"):
        self.location, self.train, self.val = str(root), train, val

    @classmethod
    def find(cls, location):
        for root in (Path(location), Path(location) / FOLDER):
            if (root / "train").is_dir() or (root / "val").is_dir():
                return cls(root, val=next((f"{name}/" for name in VAL_FOLDERS if (root / name).is_dir()), "val/"))
        return None

    @cached_property
    def files(self):
        """(name, size, mtime_ns) of every wanted file, in a fixed order."""
        root = Path(self.location)
        found = [(name, *_status(root / name, root / name)) for name in (WNIDS, WORDS) if (root / name).exists()]
        for split in self.splits:
            if (root / split).is_dir():
                _scan(root / split, split, MAX_DEPTH, found, self.splits)
        return found

    @property
    def splits(self):
        return tuple(split for split in (self.train, self.val) if split is not None)

    def fingerprint(self):
        return fingerprint_of(self.files)

    def index(self):
        return read_layout([name for name, _, _ in self.files], self.read, self.location, self.train, self.val)

    def read(self, name):
        """Returns the bytes of one file. Plain system calls from an open folder cost a third of `open`."""
        try:
            handle = os.open(name, os.O_RDONLY, dir_fd=self._folder)
            try:
                return b"".join(iter(lambda: os.read(handle, BLOCK), b""))
            finally:
                os.close(handle)
        except OSError as error:
            raise DataError(f"{self.location}/{name}: cannot read ({error.strerror})") from error

    @cached_property
    def _folder(self):
        """A handle of the root, open for as long as this object lives."""
        handle = os.open(self.location, os.O_RDONLY)
        weakref.finalize(self, os.close, handle)
        return handle


class FlatSource(DirectorySource):
    """A folder of one folder of images for each class, without train/ and val/."""

    kind = "flat directory"

    @classmethod
    def find(cls, location):
        try:
            classes = [folder for folder in Path(location).iterdir() if folder.is_dir() and holds_images(folder)]
        except OSError:
            return None
        return cls(Path(location), "", None) if len(classes) > 1 else None


def holds_images(folder):
    """Returns whether images lie in a folder; not in those below it."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(IMAGE_ENDINGS) for entry in entries)


def _scan(folder, prefix, depth, found, splits, above=frozenset()):
    """Appends (name, size, mtime_ns) of the wanted files below `folder` to `found`; names start with `prefix`.

    splits: as `is_wanted` takes them. above: (device, inode) of the folders that it lies in; a link back to one of
    them holds nothing new.
    """
    subfolders, files = [], []
    try:
        # From an open folder, a stat walks no path: 110,000 of them are most of the check whether a pack still fits.
        handle = os.open(folder, os.O_RDONLY)
        try:
            status = os.fstat(handle)
            if (status.st_dev, status.st_ino) in above:
                return
            above |= {(status.st_dev, status.st_ino)}
            with os.scandir(handle) as entries:
                for entry in entries:
                    if entry.is_dir():
                        subfolders.append(entry.name)
                    elif is_wanted(prefix + entry.name, splits):
                        files.append((prefix + entry.name, *_status(entry, folder / entry.name)))
        finally:
            os.close(handle)
    except OSError as error:
        raise DataError(f"{folder}: cannot read {error.filename or 'it'} ({error.strerror})") from error
    found += sorted(files)
    for name in sorted(subfolders) if depth else ():
        _scan(folder / name, f"{prefix}{name}/", depth - 1, found, splits, above)


def _status(file, path):
    """Returns (size, mtime_ns) of a folder entry or Path at `path`; refuses a pipe, which would block its reader."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: not a regular file: remove it")
    return status.st_size, status.st_mtime_ns
