"""What a source holds, counted from every file: for `fasttrain data info`."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fasttrain.data.decode import decode_into, probe
from fasttrain.data.progress import progress_bar
from fasttrain.data.sources.base import Source
from fasttrain.data.threads import map_in_order

CHUNK = 64
SIZE = 64  # that images are decoded at, to see whether they can be


class Sample(NamedTuple):
    """An image as the survey remembers it."""

    split: str
    path: str
    label: int


@dataclass
class SplitSurvey:
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
    splits: dict[str, SplitSurvey]
    duplicates: list[list[Sample]]


def survey(source: Source, progress: bool = True) -> Survey:
    """Reads every file of a source, decodes it as packing would, and returns what it counted."""
    index = source.index()
    samples = [(split, item) for split in ("train", "val") for item in getattr(index, split)]
    splits, equal = {"train": SplitSurvey(), "val": SplitSurvey()}, defaultdict(list)
    with progress_bar(progress) as bar:
        task = bar.add_task("reading", total=len(samples))
        chunks = [samples[start:start + CHUNK] for start in range(0, len(samples), CHUNK)]
        for chunk, found in zip(chunks, map_in_order(_look_at, chunks), strict=True):
            for (split, item), (size, digest, header) in zip(chunk, found, strict=True):
                _count(splits[split], item, size, header)
                equal[digest].append(Sample(split, item.path, item.label))
            bar.advance(task, len(chunk))
    duplicates = [group for group in equal.values() if len(group) > 1]
    return Survey(source.kind, source.location, index.class_names, splits, duplicates)


def _look_at(samples):
    """Returns (bytes, digest, header or None for what is no readable image) of each (split, item)."""
    found, pixels = [], np.empty((SIZE, SIZE, 3), np.uint8)
    for _, item in samples:
        data = item.read()
        try:
            header = probe(data)
            decode_into(data, pixels)
        except ValueError:
            header = None
        found.append((len(data), hashlib.sha256(data).digest(), header))
    return found


def _count(counts, item, size, header):
    counts.images += 1
    counts.bytes += size
    counts.per_class[item.label] += 1
    if header is None:
        counts.unreadable.append(item.path)
        return
    kind, width, height, grayscale = header
    counts.formats[kind] += 1
    counts.sizes[f"{width} x {height}"] += 1
    counts.grayscale += grayscale
