"""What every source offers: named files in one of two layouts, in one canonical order, whatever holds them."""

import abc
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Item(NamedTuple):
    """One image of a source. path: its name inside the source. label: the position of its class in the sorted ids."""

    path: str
    label: int
    load: Callable[[str], bytes]

    def read(self):
        """The encoded bytes of the image; DataError if the source cannot give them."""
        return self.load(self.path)


@dataclass(frozen=True)
class SourceIndex:
    """What a source holds. classes: ids in sorted order. class_names: from words.txt, else the id itself.

    train and val are in canonical order, the same for a folder, a zip and tar parts: by (label, natural file number).
    """

    classes: list[str]
    class_names: list[str]
    train: list[Item]
    val: list[Item]


class Source(abc.ABC):
    """Somewhere that images come from. kind: a word for it. location: the path or specification, as text."""

    kind: str
    location: str

    @abc.abstractmethod
    def fingerprint(self):
        """Sixteen hex digits that change when the data does: from names, sizes and time stamps, without reading it."""

    @abc.abstractmethod
    def index(self):
        """Lists the classes and images: a SourceIndex. DataError names the first thing that is missing or wrong."""


def fingerprint_of(files):
    """Sixteen hex digits for (name, size in bytes, mtime_ns) of each file, in the order given."""
    digest = hashlib.sha256()
    for name, size, mtime_ns in files:
        digest.update(f"{name}\0{size}\0{mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
