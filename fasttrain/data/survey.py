"""What a source holds, counted from every file: for `fasttrain data info`."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from fasttrain.data.decode import probe
from fasttrain.data.progress import progress_bar
from fasttrain.data.threads import map_in_order

CHUNK = 64


class Sample(NamedTuple):
    """An image as the survey remembers it."""

    half: str
    path: str
    label: int


@dataclass
class HalfSurvey:
    """Counts over train or val. per_class: images of each label. sizes: of "64 x 64" and such; formats: of "JPEG"..."""

    images: int = 0
    bytes: int = 0
    grayscale: int = 0
    per_class: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    sizes: Counter = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)


@dataclass
class Survey:
    """A source's counts. duplicates: groups of Samples whose files are equal byte for byte."""

    kind: str
    location: str
    class_names: list[str]
    halves: dict[str, HalfSurvey]
    duplicates: list[list[Sample]]


def survey(source, progress=True):
    """Reads every file of a source (headers are looked at, pixels are not decoded): a Survey."""
    index = source.index()
    samples = [(half, item) for half in ("train", "val") for item in getattr(index, half)]
    halves, equal = {"train": HalfSurvey(), "val": HalfSurvey()}, defaultdict(list)
    with progress_bar(progress) as bar:
        task = bar.add_task("reading", total=len(samples))
        chunks = [samples[start:start + CHUNK] for start in range(0, len(samples), CHUNK)]
        for chunk, found in zip(chunks, map_in_order(_look_at, chunks), strict=True):
            for (half, item), (size, digest, header) in zip(chunk, found, strict=True):
                _count(halves[half], item, size, header)
                equal[digest].append(Sample(half, item.path, item.label))
            bar.advance(task, len(chunk))
    duplicates = [group for group in equal.values() if len(group) > 1]
    return Survey(source.kind, source.location, index.class_names, halves, duplicates)


def _look_at(samples):
    """(bytes, digest, header or None) of each (half, item)."""
    found = []
    for _, item in samples:
        data = item.read()
        try:
            header = probe(data)
        except ValueError:
            header = None
        found.append((len(data), hashlib.sha256(data).digest(), header))
    return found


def _count(half, item, size, header):
    half.images += 1
    half.bytes += size
    half.per_class[item.label] += 1
    if header is None:
        half.unreadable.append(item.path)
        return
    kind, width, height, grayscale = header
    half.formats[kind] += 1
    half.sizes[f"{width} x {height}"] += 1
    half.grayscale += grayscale
