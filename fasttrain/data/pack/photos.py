"""Training photos stored large: random resized crops are cut from the photo, not from the square it was shrunk to.

    <cache>/photos/<pack fingerprint>-<shorter side>/
        bytes.npy      uint8 [bytes], the photos' RGB pixels one behind the other; row r is row r of the pack's train
        shapes.npy     int64 [N, 2], height and width of each
        manifest.json  size, time stamp and sha256 of both
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from fasttrain.data.decode import decode_stored
from fasttrain.data.pack.build import write_header
from fasttrain.data.pack.manifest import check_files, read_manifest, record_files, write_manifest
from fasttrain.data.progress import tell
from fasttrain.data.sources import Source
from fasttrain.data.split import Photos
from fasttrain.data.threads import map_in_order
from fasttrain.errors import DataError
from fasttrain.storage import CACHE, atomic_folder, cache_dir, locked, make_folder, need_space, sync, writing

NAMES = ["bytes.npy", "shapes.npy"]


def open_photos(source: Source, paths: list[str], name: str, side: int,
                on_message: Callable[[str], None] | None = None) -> Photos:
    """Returns the training images `paths` of a Source, shrunk to a shorter side of at most `side` pixels.

    name: the fingerprint of the pack with these rows. Written on first use; later runs reuse it, and several processes
    may call this at once. Raises DataError for images that cannot be read, damaged files and a full disk.
    """
    folder = cache_dir() / "photos" / f"{name}-{side}"
    if not folder.is_dir():
        make_folder(folder.parent)
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                (on_message or tell)(f"storing photos with a shorter side of {side} px once; later runs reuse {folder}")
                _write(folder, source, paths, side)
    remedy = f"delete {folder}"
    check_files(folder, read_manifest(folder, remedy)["files"], remedy)
    data, shapes = np.load(folder / NAMES[0], mmap_mode="r"), np.load(folder / NAMES[1])
    return Photos(data, shapes, np.cumsum([0, *3 * shapes.prod(1)[:-1]], dtype=np.int64))


def _write(folder, source, paths, side):
    items = {item.path: item for item in source.index().train}
    need_space(folder.parent, len(paths) * 3 * side**2)
    with atomic_folder(folder) as temporary, writing(folder, CACHE):
        shapes = []
        with open(temporary / NAMES[0], "wb") as file:
            write_header(file, (0,))
            for pixels in map_in_order(partial(_decode, side=side), [items[path] for path in paths]):
                file.write(pixels)
                shapes.append(pixels.shape[:2])
            file.seek(0)
            write_header(file, (int(3 * np.prod(shapes, axis=1).sum()),))
        np.save(temporary / NAMES[1], np.array(shapes, np.int64))
        for name in NAMES:
            sync(temporary / name)
        write_manifest(temporary, {"files": record_files(temporary, NAMES)})


def _decode(item, side):
    try:
        return decode_stored(item.read(), side)
    except ValueError as error:
        raise DataError(f"{item.path}: not a readable image ({error}): restore it") from error
