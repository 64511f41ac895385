"""One or more `.tar.xz` files that together hold a folder tree; read into memory, never unpacked to disk."""

import io
import lzma
import tarfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from fasttrain.data.sources.archive import check_kind, check_name, check_size, without_root
from fasttrain.data.sources.base import Source, fingerprint_of
from fasttrain.data.sources.layout import is_wanted, read_layout
from fasttrain.data.threads import map_in_order
from fasttrain.errors import DataError

CHUNK = 1 << 20
BROKEN = (lzma.LZMAError, tarfile.TarError, EOFError)


class TarSource(Source):
    """Images in the `.tar.xz` files `parts`; `location` is the file or the folder that holds them."""

    kind = "tar"

    def __init__(self, location: Path, parts: Iterable[Path]):
        self.location = str(location)
        self.parts = sorted(parts)

    @classmethod
    def find(cls, location):
        path = Path(location)
        parts = list(path.glob("*.tar.xz")) if path.is_dir() else [path] * path.name.endswith(".tar.xz")
        return cls(path, parts) if parts and path.exists() else None

    def fingerprint(self):
        status = [(part.name, part.stat()) for part in self.parts]
        return fingerprint_of((name, found.st_size, found.st_mtime_ns) for name, found in status)

    def index(self):
        return read_layout([name for name in self._members if is_wanted(name)], self.read, self.location)

    def read(self, name):
        """Returns the bytes of one member."""
        return bytes(self._members[name])

    @cached_property
    def _members(self):
        members = {}
        for part, found in zip(self.parts, map_in_order(_unpack, self.parts), strict=True):
            for name, data in found.items():
                if members.setdefault(name, data) != data:
                    raise DataError(f"{part}: {name} differs from the one in another part: remove one of the parts")
        return without_root(members)


def _unpack(part):
    """Returns {name: bytes as a memoryview} of the files in one part."""
    try:
        raw = _decompress(part)
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            return dict(_members_of(archive, memoryview(raw), part))
    except BROKEN as error:
        raise DataError(f"{part}: cut or damaged ({error}): get it again") from error
    except OSError as error:
        raise DataError(f"{part}: cannot read ({error.strerror})") from error


def _decompress(part):
    """Returns all of an .xz file, at once: Python's tarfile takes twice as long on a stream."""
    packed, size, chunks = part.stat().st_size, 0, []
    with lzma.open(part) as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            check_size(size, packed, part)
            chunks.append(chunk)
    return b"".join(chunks)


def _members_of(archive, raw, part):
    for member in archive:
        name = member.name.removeprefix("./")
        check_name(name, part)
        check_kind(member.isreg() and not member.issparse() or member.isdir(), name, part)
        if member.isreg():
            end = member.offset_data + member.size
            if end > len(raw):
                raise EOFError(f"{name} is cut")
            yield name, raw[member.offset_data:end]
