"""The actions of `fasttrain data`: each is a function that prints what it did and returns it."""

import time
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fasttrain.data import fetch as download
from fasttrain.data.pack import Pack, find_pack, open_pack
from fasttrain.data.pack import verify as verify_pack
from fasttrain.data.sources import open_source
from fasttrain.data.sources.layout import printable
from fasttrain.data.sources.survey import Survey, survey
from fasttrain.data.sources.synthetic import Spec, synthesize
from fasttrain.errors import ConfigError, DataError


def pack(location: str | None = None, image_size: int = 64, rebuild: bool = False,
         skip_corrupt: float | None = None) -> Pack:
    """Packs a data set, as `run` does on first use; leaves out up to `skip_corrupt` percent of it as unreadable."""
    started = time.monotonic()
    share = None if skip_corrupt is None else skip_corrupt / 100
    found = open_pack(open_source(location), image_size, rebuild=rebuild, skip_corrupt=share)
    print(f"{_describe(found)}, ready in {time.monotonic() - started:.1f} s: {found.folder}")
    return found


def verify(location: str | None = None, image_size: int = 64) -> Pack:
    """Checks every byte of a pack against its sha256; DataError names all that differ."""
    source = open_source(location)
    found = find_pack(source, image_size)
    if found is None:
        raise DataError(f"{source.location}: not packed at {image_size} px yet: run `fasttrain data pack` first")
    verify_pack(found)
    print(f"{_describe(found)}: all {len(found.manifest['files'])} files are as they were written: {found.folder}")
    for line in _left_out(found):
        print(line)
    return found


def _left_out(found: Pack) -> Iterator[str]:
    """Yields a line for each file that packing left out as unreadable, and one for classes that have no image."""
    for skipped in found.skipped:
        yield f"left out: {printable(skipped['path'])}: {skipped['reason']}"
    empty = set(range(len(found.manifest["classes"]))) - set(found.split("train").labels.tolist())
    if empty:
        yield ("without a training image, kept as classes: "
               + ", ".join(printable(found.manifest["classes"][k]) for k in sorted(empty)))


def _describe(found: Pack) -> str:
    counts, files = found.manifest["counts"], found.manifest["files"].values()
    size = found.manifest["image_size"]
    return (f"{counts['train']:,} training and {counts['val']:,} validation images of {size} x {size}, "
            f"{len(found.manifest['classes'])} classes, {sum(file['size'] for file in files) / 1e6:,.1f} MB")


def info(location: str | None = None) -> Survey:
    """Counts and describes a data set, oddities included, from every file of it."""
    found = survey(open_source(location))
    say = partial(Console().print, markup=False, highlight=False, soft_wrap=True)
    say(f"{printable(found.location)} ({found.kind})")
    say(_table(found))
    for line in _oddities(found):
        say(line)
    return found


def _table(found: Survey) -> Table:
    table = Table()
    table.add_column("")
    splits = found.splits.values()
    for name in found.splits:
        table.add_column(name, justify="right")
    rows = {
        "images": lambda split: f"{split.images:,}",
        "classes": lambda split: f"{len(split.per_class):,}",
        "images per class": lambda split: _range(split.per_class.values()),
        "size on disk": lambda split: f"{split.bytes / 1e6:,.1f} MB",
        "format": lambda split: _counts(split.formats),
        "pixels": lambda split: _counts(split.sizes),
        "grayscale": lambda split: f"{split.grayscale:,}",
        "unreadable": lambda split: f"{len(split.unreadable):,}",
    }
    for name, cell in rows.items():
        table.add_row(name, *map(cell, splits))
    return table


def _range(counts: Collection[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _counts(counter: Counter) -> str:
    """Returns the three most frequent values, and how many more there are."""
    if len(counter) < 2:
        return next(iter(counter), "-")
    more = [f"{len(counter) - 3:,} more"] if len(counter) > 3 else []
    return "\n".join([f"{value}: {count:,}" for value, count in counter.most_common(3)] + more)


def _oddities(found: Survey) -> Iterator[str]:
    names = [printable(name) for name in found.class_names]
    yield f"classes: {', '.join(names[:5])}" + (f", ... {names[-1]}" if len(names) > 5 else "")
    for path in [path for split in found.splits.values() for path in split.unreadable]:
        yield f"unreadable: {printable(path)}"
    if found.duplicates:
        conflicts = [group for group in found.duplicates if len({sample.label for sample in group}) > 1]
        first, second = (conflicts or found.duplicates)[0][:2]
        yield (f"identical files: {len(found.duplicates)} groups, {len(conflicts)} of them with different labels, "
               f"such as {printable(first.path)} and {printable(second.path)}")


def synth(directory: str | Path, classes: int = 200, train: int = 50, val: int = 10, size: int = 64,
          seed: int = 0) -> Path:
    """Draws synthetic data, `train` and `val` images of each class, into the new folder `directory`."""
    folder = Path(directory)
    synthesize(folder, Spec(classes, train, val, size, seed), progress=True, remedy="name another folder")
    print(f"{classes * train:,} training and {classes * val:,} validation images of {size} x {size}: {folder}")
    return folder


def fetch(url: str = download.OFFICIAL_URL, md5: str = download.OFFICIAL_MD5, size: int = download.OFFICIAL_SIZE,
          to: str | None = None) -> Path:
    """Downloads the official archive into the user cache, where `run` finds it, or into the folder `to`."""
    path = download.fetch(url, md5, size, to)
    print(f"{path}: complete, md5 {md5}")
    return path


def preview(location: str | None = None, image_size: int = 64, split: str = "train",
            out: str = "preview.png") -> Path:
    """Draws images of every class in turn from the "train" or "val" split into the PNG `out`."""
    from fasttrain.data.mosaic import draw_preview

    images = open_pack(open_source(location), image_size).split(split)  # all of it: row i is image i
    try:
        draw_preview(images.pixels, images.labels, images.class_names, Path(out),
                     f"{location or 'default data'}, {split}: {len(images):,} images, {images.num_classes} classes")
    except OSError as error:
        raise ConfigError(f"{out}: cannot write: {error.strerror or error}") from None
    print(out)
    return Path(out)
