"""Where images come from: `open_source` turns what a user names into a Source, one small file for each kind."""

import os
from pathlib import Path

from fasttrain.data.sources.base import Item, Source, SourceIndex
from fasttrain.errors import DataError
from fasttrain.registry import SOURCES
from fasttrain.storage import cache_dir

__all__ = ["Item", "Source", "SourceIndex", "open_source"]

EXPECTED = ("expected train/ and val/, a folder of images for each class, tiny-imagenet-200/, tiny-imagenet-200.zip "
            "or .tar.xz parts in it")


def open_source(location: str | os.PathLike | None = None) -> Source:
    """Returns the Source at `location`; nothing is read yet.

    location: a data folder or one that holds it, a folder of classes, a zip, a `.tar.xz` part or a folder of parts,
    `synthetic` or `synthetic:classes=20,train=100,val=20,size=64,seed=0`. None: `$FASTTRAIN_DATA`, `./data`, then what
    `fasttrain data fetch` brought. Raises DataError if nothing is there.
    """
    location = location or os.environ.get("FASTTRAIN_DATA")
    places = [os.path.expanduser(location)] if location else ["data", cache_dir()]
    for place in places:
        for name in SOURCES.names():
            if source := SOURCES.load(name).find(os.fspath(place)):
                return source
    raise DataError(_nothing_at(Path(places[0])) if location else
                    "no data found: `fasttrain data fetch` downloads Tiny-ImageNet, --data PATH or $FASTTRAIN_DATA "
                    "names yours, or try `fasttrain run --data synthetic:classes=10 --epochs 5`")


def _nothing_at(path):
    if path.is_dir():
        return f"{path}: {'no data in this' if any(path.iterdir()) else 'empty'} folder: {EXPECTED}"
    if path.exists():
        return f"{path}: not data that fasttrain reads: {EXPECTED}"
    return f"{path}: no such file or folder: name the data with --data PATH, or use --data synthetic"
