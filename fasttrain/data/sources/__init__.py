"""Where images come from: `open_source` turns what a user names into a Source, one small file for each kind."""

import os
from pathlib import Path

from fasttrain.data.sources.base import Item, Source, SourceIndex
from fasttrain.errors import DataError
from fasttrain.storage import cache_dir

__all__ = ["Item", "Source", "SourceIndex", "open_source"]

FOLDER, ZIP = "tiny-imagenet-200", "tiny-imagenet-200.zip"
EXPECTED = f"expected train/ and val/, {FOLDER}/, {ZIP} or .tar.xz parts in it"


def open_source(location=None):
    """The Source at `location`; nothing is read yet.

    location: a data folder or one that holds it, a zip, a `.tar.xz` part or a folder of parts, `synthetic` or
    `synthetic:classes=20,train=100,val=20,size=64,seed=0`. None: `$FASTTRAIN_DATA`, `./data`, then what
    `fasttrain data fetch` brought. Raises DataError if nothing is there.
    """
    location = location or os.environ.get("FASTTRAIN_DATA")
    if location:
        return _named(os.fspath(location))
    for folder in (Path("data"), cache_dir()):
        if folder.is_dir() and (source := _in_folder(folder)):
            return source
    raise DataError("no data found: `fasttrain data fetch` downloads Tiny-ImageNet, --data PATH or $FASTTRAIN_DATA "
                    "names yours, or try `fasttrain run --data synthetic:classes=10 --epochs 5`")


def _named(location):
    if location == "synthetic" or location.startswith("synthetic:"):
        from fasttrain.data.sources.synthetic import Spec, SyntheticSource
        return SyntheticSource(Spec.parse(location))
    try:
        path = Path(location).expanduser()
    except RuntimeError as error:
        raise DataError(f"{location}: {error}") from None
    if path.is_dir():
        if source := _in_folder(path):
            return source
        raise DataError(f"{path}: {'no data in this' if any(path.iterdir()) else 'empty'} folder: {EXPECTED}")
    if not path.exists():
        raise DataError(f"{path}: no such file or folder: name the data with --data PATH, or use --data synthetic")
    return _archive(path)


def _archive(path):
    from fasttrain.data.sources.tar_parts import TarSource
    from fasttrain.data.sources.zip_archive import ZipSource
    if path.suffix == ".zip":
        return ZipSource(path)
    if path.name.endswith(".tar.xz"):
        return TarSource(path, [path])
    raise DataError(f"{path}: not data that fasttrain reads: {EXPECTED}")


def _in_folder(folder):
    """The source that a folder holds, or None."""
    from fasttrain.data.sources.directory import DirectorySource
    from fasttrain.data.sources.tar_parts import TarSource
    for root in (folder, folder / FOLDER):
        if (root / "train").is_dir() or (root / "val").is_dir():
            return DirectorySource(root)
    if (folder / ZIP).is_file():
        return _archive(folder / ZIP)
    parts = list(folder.glob("*.tar.xz"))
    return TarSource(folder, parts) if parts else None
