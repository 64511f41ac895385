"""The official zip, or any zip of a folder tree; read in place, never unpacked to disk."""

import stat
import zipfile
import zlib
from functools import cached_property
from pathlib import Path

from fasttrain.data.sources.archive import check_kind, check_name, check_size, without_root
from fasttrain.data.sources.base import Source, fingerprint_of
from fasttrain.data.sources.layout import is_wanted, read_layout
from fasttrain.errors import DataError

OFFICIAL = "tiny-imagenet-200.zip"
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


class ZipSource(Source):
    """Images in the zip file `path`."""

    kind = "zip"

    def __init__(self, path: Path):
        self.location = str(path)

    @classmethod
    def find(cls, location):
        path = Path(location)
        if path.is_dir():
            return cls(path / OFFICIAL) if (path / OFFICIAL).is_file() else None
        return cls(path) if path.suffix == ".zip" and path.exists() else None

    def fingerprint(self):
        path = Path(self.location)
        status = path.stat()
        return fingerprint_of([(path.name, status.st_size, status.st_mtime_ns)])

    def index(self):
        return read_layout([name for name in self._members if is_wanted(name)], self.read, self.location)

    def read(self, name):
        """Returns the bytes of one member, its CRC checked. Safe to call from several threads."""
        try:
            return self._archive.read(self._members[name])
        except BROKEN as error:
            raise DataError(f"{self.location}: {name}: damaged ({error}): get the archive again") from error
        except OSError as error:
            raise DataError(f"{self.location}: cannot read ({error.strerror})") from error

    @cached_property
    def _archive(self):
        try:
            return zipfile.ZipFile(self.location)
        except BROKEN as error:
            raise DataError(f"{self.location}: cut or not a zip file ({error}): get it again") from error
        except OSError as error:
            raise DataError(f"{self.location}: cannot read ({error.strerror})") from error

    @cached_property
    def _members(self):
        members = {}
        for info in self._archive.infolist():
            check_name(info.filename, self.location)
            kind = stat.S_IFMT(info.external_attr >> 16)
            check_kind(kind in (0, stat.S_IFREG, stat.S_IFDIR), info.filename, self.location)
            if info.filename in members:
                raise DataError(f"{self.location}: {info.filename} occurs twice in the archive: make it again")
            members[info.filename] = info
        check_size(sum(info.file_size for info in members.values()), Path(self.location).stat().st_size, self.location)
        return without_root(members)
