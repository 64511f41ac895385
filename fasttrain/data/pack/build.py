"""Builds a pack: all cores read and decode a source, one thread writes the arrays, in order."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from fasttrain.data.decode import decode_into, decoder_name
from fasttrain.data.pack.manifest import record_files, write_manifest
from fasttrain.data.progress import progress_bar
from fasttrain.data.sources.base import Item, Source
from fasttrain.data.threads import map_in_order
from fasttrain.errors import DataError
from fasttrain.storage import CACHE, need_space, sync, writing

SCHEMA = 1
CHUNK = 32 * 64 * 64  # pixels that a thread decodes at a time: they are still in its cache when their sums are taken
MOST = 256  # images in a chunk: sums of so many squares of bytes are exact in float32, whose sums are the fastest


class Chunk(NamedTuple):
    """Some decoded images. pixels: uint8 [k, S, S, 3]. encoded: their files. plain: all are JPEG of the wanted size.

    items: where they came from. sums: int64 [2, 3], over the pixels and over their squares, for each channel; exact.
    corrupt: those that are no readable images, {"path": ..., "reason": ...} each.
    """

    items: list[Item]
    corrupt: list[dict[str, str]]
    pixels: np.ndarray
    encoded: list[bytes]
    plain: bool
    sums: np.ndarray


class Written(NamedTuple):
    """What was written of train or val: fields as in Chunk, over all of it."""

    items: list[Item]
    corrupt: list[dict[str, str]]
    plain: bool
    sums: np.ndarray


def build_pack(source: Source, image_size: int, folder: Path, progress: bool = True,
               skip_corrupt: float | None = None) -> None:
    """Writes the pack of `source` into the empty `folder`; after an error the caller throws away what is there.

    skip_corrupt: the share of all images, and one in any case, that may be unreadable and are left out; None: none may.
    """
    with progress_bar(progress) as bar:
        task = bar.add_task(f"reading {source.location}", total=None)
        index = source.index()
        items = {"train": index.train, "val": index.val}
        images = len(index.train) + len(index.val)
        need_space(folder.parent, images * 3 * image_size**2 * 5 // 4)
        bar.update(task, description="packing", total=images)
        decode = partial(_decode, image_size=image_size)
        with writing(folder.parent, CACHE):
            written = {
                name: _write_split(folder / name, items[name], image_size, decode, partial(bar.advance, task))
                for name in items
            }
            corrupt = [found for split in written.values() for found in split.corrupt]
            _refuse_corrupt(corrupt, source.location, images, skip_corrupt)
            paths = {name: [item.path for item in split.items] for name, split in written.items()}
            (folder / "paths.json").write_text(json.dumps(paths), encoding="utf-8")
            _finish(source, index, image_size, folder, written, corrupt)


def _refuse_corrupt(corrupt, location, images, share):
    """Raises DataError, which names all that are unreadable, where these are too many of so many images."""
    most = 0 if share is None else max(1, int(share * images))
    if len(corrupt) > most:
        named = ", ".join(f"{found['path']}: not a readable image ({found['reason']})" for found in corrupt)
        remedy = ("or leave them out with `fasttrain data pack --skip-corrupt`" if share is None else
                  f"or let --skip-corrupt=P% leave out more than {most}")
        raise DataError(f"{location}: {named}: replace or remove what is named, {remedy}")


def _decode(items, image_size):
    """Reads and decodes a few items into a Chunk."""
    pixels = np.empty((len(items), image_size, image_size, 3), np.uint8)
    kept, corrupt, encoded, plain = [], [], [], True
    for item in items:
        data = item.read()
        try:
            plain &= decode_into(data, pixels[len(kept)])
        except ValueError as error:
            corrupt.append({"path": item.path, "reason": str(error)})
            continue
        kept.append(item)
        encoded.append(data)
    pixels = pixels[:len(kept)]
    flat = pixels.reshape(len(kept), -1).astype(np.float32)
    sums = np.array([flat.sum(0), np.einsum("ij,ij->j", flat, flat)], np.float64).reshape(2, -1, 3)
    return Chunk(kept, corrupt, pixels, encoded, plain, (np.ones(image_size**2) @ sums).astype(np.int64))


def _write_split(folder, items, image_size, decode, advance):
    """Writes the arrays of train or val; jpeg.npy ends where the first image came that is not plain."""
    folder.mkdir()
    kept, corrupt, lengths, plain, sums = [], [], [], True, np.zeros((2, 3), np.int64)
    count = min(max(1, CHUNK // image_size**2), MOST)
    chunks = map_in_order(decode, [items[start:start + count] for start in range(0, len(items), count)])
    # Written, not mapped: a full disk is then an error instead of a SIGBUS.
    with open(folder / "pixels.npy", "wb") as pixels, open(folder / "jpeg.npy", "wb") as jpeg:
        write_header(pixels, (0, image_size, image_size, 3))
        write_header(jpeg, (0,))
        for chunk in chunks:
            pixels.write(chunk.pixels)
            plain, sums = plain and chunk.plain, sums + chunk.sums
            if plain:
                jpeg.writelines(chunk.encoded)
                lengths += [len(data) for data in chunk.encoded]
            kept += chunk.items
            corrupt += chunk.corrupt
            advance(len(chunk.items) + len(chunk.corrupt))
        offsets = np.cumsum([0, *lengths], dtype=np.int64)
        pixels.seek(0)
        write_header(pixels, (len(kept), image_size, image_size, 3))
        jpeg.seek(0)
        write_header(jpeg, (int(offsets[-1]),))
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "labels.npy", np.array([item.label for item in kept], np.int64))
    return Written(kept, corrupt, plain, sums)


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Writes the start of a .npy file of uint8 to an open file; its length does not depend on the shape's digits."""
    npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _finish(source, index, image_size, folder, written, corrupt):
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
    mean, std = _moments(written["train" if written["train"].items else "val"], image_size)
    write_manifest(folder, {
        "schema": SCHEMA,
        "source": {"kind": source.kind, "location": source.location, "fingerprint": source.fingerprint()},
        "fingerprint": hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16],
        "image_size": image_size,
        "counts": {name: len(split.items) for name, split in written.items()},
        **({"skipped": corrupt} if corrupt else {}),
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
    pixels = len(written.items) * image_size**2
    mean, square = written.sums / (pixels * np.array([[255], [255**2]]))
    return mean.tolist(), np.sqrt(np.maximum(square - mean**2, 255**-2)).tolist()
