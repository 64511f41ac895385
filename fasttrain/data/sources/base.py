"""What every source offers: the images of train and val, in one canonical order, whatever holds them."""

import abc
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Item(NamedTuple):
    """One image of a source. path: its name inside the source. label: the position of its class in the sorted ids."""

    path: str
    label: int
    load: Callable[[str], bytes]

    def read(self) -> bytes:
        """Returns the encoded image; DataError if the source cannot give it."""
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

    @classmethod
    @abc.abstractmethod
    def find(cls, location: str) -> "Source | None":
        """Returns the source at `location` if it is of this kind, else None; reads no more than it takes to tell."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Returns sixteen hex digits that change when the data does, from names, sizes and time stamps."""

    @abc.abstractmethod
    def index(self) -> SourceIndex:
        """Lists the classes and images; DataError names the first thing that is missing or wrong."""


def fingerprint_of(files: Iterable[tuple[str, int, int]]) -> str:
    """Returns sixteen hex digits for (name, size in bytes, mtime_ns) of each file, in the order given."""
    digest = hashlib.sha256()
    for name, size, mtime_ns in files:
        digest.update(f"{name}\0{size}\0{mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
