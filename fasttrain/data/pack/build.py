"""Builds a pack: all cores read and decode a source, one thread writes the arrays, in order."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from fasttrain.data.decode import decode_into, decoder_name
from fasttrain.data.pack.manifest import record_files, write_manifest
from fasttrain.data.progress import progress_bar
from fasttrain.data.sources.base import Source
from fasttrain.data.threads import map_in_order
from fasttrain.errors import DataError
from fasttrain.storage import CACHE, need_space, sync, writing

SCHEMA = 1
CHUNK = 32 * 64 * 64  # pixels that a thread decodes at a time: they are still in its cache when their sums are taken
MOST = 256  # images in a chunk: sums of so many squares of bytes are exact in float32, whose sums are the fastest


class Chunk(NamedTuple):
    """Some decoded images. pixels: uint8 [k, S, S, 3]. encoded: their files. plain: all are JPEG of the wanted size.

    sums: int64 [2, 3], over the pixels and over their squares, for each channel; exact.
    """

    pixels: np.ndarray
    encoded: list[bytes]
    plain: bool
    sums: np.ndarray


class Written(NamedTuple):
    """What was written of train or val. count: images. plain, sums: as in Chunk, over all of them."""

    count: int
    plain: bool
    sums: np.ndarray


def build_pack(source: Source, image_size: int, folder: Path, progress: bool = True) -> None:
    """Writes the pack of `source` into the empty `folder`; after an error the caller throws away what is there."""
    with progress_bar(progress) as bar:
        task = bar.add_task(f"reading {source.location}", total=None)
        index = source.index()
        items = {"train": index.train, "val": index.val}
        images = len(index.train) + len(index.val)
        need_space(folder.parent, images * 3 * image_size**2 * 5 // 4)
        bar.update(task, description="packing", total=images)
        decode = partial(_decode, image_size=image_size, location=source.location)
        with writing(folder.parent, CACHE):
            written = {
                name: _write_split(folder / name, items[name], image_size, decode, partial(bar.advance, task))
                for name in items
            }
            paths = {name: [item.path for item in items[name]] for name in items}
            (folder / "paths.json").write_text(json.dumps(paths), encoding="utf-8")
            _finish(source, index, image_size, folder, written)


def _decode(items, image_size, location):
    """Reads and decodes a few items into a Chunk; DataError names the first that cannot be read."""
    pixels = np.empty((len(items), image_size, image_size, 3), np.uint8)
    encoded = [item.read() for item in items]
    plain = True
    for item, data, out in zip(items, encoded, pixels, strict=True):
        try:
            plain &= decode_into(data, out)
        except ValueError as error:
            raise DataError(f"{location}: {item.path}: not a readable image ({error}): replace or remove it") from error
    flat = pixels.reshape(len(items), -1).astype(np.float32)
    sums = np.array([flat.sum(0), np.einsum("ij,ij->j", flat, flat)], np.float64).reshape(2, -1, 3)
    return Chunk(pixels, encoded, plain, (np.ones(image_size**2) @ sums).astype(np.int64))


def _write_split(folder, items, image_size, decode, advance):
    """Writes the arrays of train or val; jpeg.npy ends where the first image came that is not plain."""
    folder.mkdir()
    np.save(folder / "labels.npy", np.array([item.label for item in items], np.int64))
    offsets, plain, sums, done = np.zeros(len(items) + 1, np.int64), True, np.zeros((2, 3), np.int64), 0
    count = min(max(1, CHUNK // image_size**2), MOST)
    chunks = map_in_order(decode, [items[start:start + count] for start in range(0, len(items), count)])
    # Written, not mapped: a full disk is then an error instead of a SIGBUS.
    with open(folder / "pixels.npy", "wb") as pixels, open(folder / "jpeg.npy", "wb") as jpeg:
        _write_header(pixels, (len(items), image_size, image_size, 3))
        _write_header(jpeg, (0,))
        for chunk in chunks:
            pixels.write(chunk.pixels)
            plain, sums = plain and chunk.plain, sums + chunk.sums
            if plain:
                jpeg.writelines(chunk.encoded)
                offsets[done + 1:done + 1 + len(chunk.encoded)] = [len(data) for data in chunk.encoded]
            done += len(chunk.encoded)
            advance(len(chunk.encoded))
        np.cumsum(offsets, out=offsets)
        jpeg.seek(0)
        _write_header(jpeg, (int(offsets[-1]),))
    np.save(folder / "offsets.npy", offsets)
    return Written(len(items), plain, sums)


def _write_header(file, shape):
    """Writes the start of a .npy file of uint8; its length does not depend on the shape's digits."""
    npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _finish(source, index, image_size, folder, written):
    """Drops the encoded images unless every one is plain, flushes all to the disk and writes the manifest."""
    plain = all(split.plain for split in written.values())
    if not plain:
        for name in written:
            (folder / name / "jpeg.npy").unlink()
            (folder / name / "offsets.npy").unlink()
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    with ThreadPoolExecutor(1) as disk:  # it writes while the cores hash
        synced = disk.map(sync, [folder / name for name in names])
        files = record_files(folder, names)
        list(synced)  # raises what went wrong
    content = [image_size, index.classes, [files[f"{name}/{array}.npy"]["sha256"]
                                           for name in written for array in ("pixels", "labels")]]
    mean, std = _moments(written["train" if index.train else "val"], image_size)
    write_manifest(folder, {
        "schema": SCHEMA,
        "source": {"kind": source.kind, "location": source.location, "fingerprint": source.fingerprint()},
        "fingerprint": hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16],
        "image_size": image_size,
        "counts": {name: split.count for name, split in written.items()},
        "jpeg": plain,
        "decoder": decoder_name(),
        "mean": mean,
        "std": std,
        "classes": index.classes,
        "class_names": index.class_names,
        "files": files,
    })


def _moments(written, image_size):
    """Returns (mean, std) of each channel, pixels scaled to [0, 1]; std at least one gray level."""
    pixels = written.count * image_size**2
    mean, square = written.sums / (pixels * np.array([[255], [255**2]]))
    return mean.tolist(), np.sqrt(np.maximum(square - mean**2, 255**-2)).tolist()
