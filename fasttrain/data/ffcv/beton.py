"""FFCV's file of a split: its decoded pixels, written once from the pack and reused by every later run.

    <cache>/ffcv/<split fingerprint>-<image size>/images.beton     raw pixels; sample i is sample i of the split
                                                  manifest.json    size, time stamp and sha256 of images.beton

The format is FFCV 1.0.2's (ffcv/writer.py), byte for byte what its own writer makes with one worker. That writer hands
samples to processes, and waits forever if one of them fails; pages of equal images need neither.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fasttrain.data.pack.manifest import check_files, read_manifest, record_files, write_manifest
from fasttrain.data.progress import tell
from fasttrain.data.split import Split
from fasttrain.errors import DataError
from fasttrain.storage import CACHE, atomic_folder, cache_dir, locked, make_folder, need_space, writing

NAME = "images.beton"
SCHEMA = 1
LEAST_PAGE = 1 << 21  # FFCV's lower limit; small splits make small files


def open_beton(split: Split, cache: Path | None = None, on_message: Callable[[str], None] | None = None) -> Path:
    """Returns the path of the .beton of a Split, written if need be and verified.

    cache: default `cache_dir()`. on_message: gets one line when the file is written, and why; by default it goes to
    stderr. A file that was altered or cut is written again. Several processes may call this at once: one writes, the
    others wait. Raises DataError for folders that cannot be written or have no space.
    """
    on_message = on_message or tell
    folder = Path(cache or cache_dir()) / "ffcv" / f"{split.fingerprint}-{split.image_size}"
    if _reason_to_write(folder):
        make_folder(folder.parent)
        with locked(folder.with_name(f"{folder.name}.lock")):
            reason = _reason_to_write(folder)
            if reason:
                on_message(reason)
                _write_folder(folder, split)
    return folder / NAME


def _reason_to_write(folder):
    """Returns None where `folder` holds a sound .beton, else the line that says why one is written."""
    if not folder.is_dir():
        return f"writing {folder / NAME} once; later runs reuse it"
    try:
        manifest = read_manifest(folder, "writing it again")
        # hashed each time: FFCV takes damaged bytes as they are
        check_files(folder, manifest["files"], "writing it again", thorough=True)
    except DataError as error:
        return str(error)
    if manifest["schema"] != SCHEMA:
        return f"{folder / NAME}: written by another version of fasttrain: writing it again"
    return None


def _write_folder(folder, split):
    need_space(folder.parent, len(split) * 3 * split.image_size**2 * 9 // 8)
    with atomic_folder(folder) as temporary, writing(folder, CACHE):
        write_beton(temporary / NAME, split)
        write_manifest(temporary, {"schema": SCHEMA, "files": record_files(temporary, [NAME])})


def write_beton(path: Path, split: Split) -> None:
    """Writes the images of `split` to `path` in FFCV's raw mode, and flushes them to the disk."""
    from ffcv.fields import RGBImageField
    from ffcv.types import ALLOC_TABLE_TYPE, CURRENT_VERSION, FieldDescType, HeaderType, get_metadata_type

    count, size = len(split), split.image_size
    image_bytes = 3 * size**2
    page = max(LEAST_PAGE, 1 << (image_bytes - 1).bit_length())
    per_page = page // image_bytes
    header, field = np.zeros((), HeaderType), np.zeros((), FieldDescType)
    images = np.zeros(count, get_metadata_type([RGBImageField()]))
    table = np.zeros(count, ALLOC_TABLE_TYPE)

    before = header.nbytes + field.nbytes + images.nbytes
    start = -(-before // page) * page
    number = np.arange(count)
    pointers = start + number // per_page * page + number % per_page * image_bytes
    table["sample_id"], table["ptr"], table["size"] = number, pointers, image_bytes
    header[()] = (CURRENT_VERSION, 1, page, count, start + -(-count // per_page) * page)
    field["type_id"], field["name"][:5] = 2, np.frombuffer(b"image", np.uint8)
    images["f0"]["mode"], images["f0"]["data_ptr"] = 1, pointers  # mode 1: raw pixels
    images["f0"]["width"] = images["f0"]["height"] = size
    with open(path, "wb") as file:
        file.write(b"".join([header.tobytes(), field.tobytes(), images.tobytes(), bytes(start - before)]))
        for first in range(0, count, per_page):
            pixels = split.pixels[split.rows[first:first + per_page]]
            file.write(pixels)
            file.write(bytes(page - pixels.nbytes))
        file.write(table)
        file.flush()
        os.fsync(file.fileno())
