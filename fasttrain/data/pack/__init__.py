"""A pack: a source decoded once into plain .npy files, reused by every later run and shared between processes.

    <cache>/packs/<source fingerprint>-<image size>/
        {train,val}/pixels.npy   uint8 [N, S, S, 3]        {train,val}/labels.npy    int64 [N]
        {train,val}/jpeg.npy     uint8 [bytes]             {train,val}/offsets.npy   int64 [N + 1]   if all are JPEG
        paths.json               the image that each row came from
        manifest.json            counts, classes, mean and std, files left out as unreadable, sha256 of every file
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fasttrain.config import RunConfig
from fasttrain.data.pack.build import SCHEMA, build_pack
from fasttrain.data.pack.manifest import check_files, read_manifest, write_manifest
from fasttrain.data.pack.photos import open_photos
from fasttrain.data.progress import tell
from fasttrain.data.sources import Source, open_source
from fasttrain.data.split import Split, choose_rows, class_count, held_out, view_fingerprint
from fasttrain.errors import ConfigError, DataError
from fasttrain.storage import atomic_folder, cache_dir, locked, make_folder

EMPTY = {
    "train": "add images below train/<class>/",
    "val": "add val/images with val/val_annotations.txt (part 0 of the .tar.xz parts), or images below val/<class>/, "
           "or hold some of each class out with --val-fraction 0.1",
}


@dataclass(frozen=True)
class Pack:
    """A finished pack in `folder`; `manifest` is its manifest.json as a dict."""

    folder: Path
    manifest: dict

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of the content: equal for the same images, labels and size from any kind of source."""
        return self.manifest["fingerprint"]

    @property
    def skipped(self) -> list[dict[str, str]]:
        """The files that packing left out, {"path": ..., "reason": ...} each."""
        return self.manifest.get("skipped", [])

    def split(self, name: str, classes: int | None = None, limit: int | None = None,
              val_fraction: float | None = None) -> Split:
        """Returns "train" or "val" of the first `classes` sorted ids, at most `limit` images, balanced over classes.

        val_fraction: the share of each class's training images that validate, see `held_out`; for a pack without val.
        Raises ConfigError for counts out of bounds and DataError where no image is left.
        """
        manifest = self.manifest
        classes = class_count(classes, len(manifest["classes"]))
        if val_fraction is not None and manifest["counts"]["val"]:
            raise ConfigError(f"--val-fraction {val_fraction:g}: {manifest['source']['location']} has images to "
                              "validate on: leave it out")
        folder = name if val_fraction is None else "train"
        labels = self._array(folder, "labels")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(manifest["classes"]):
            raise DataError(f"{self.folder / folder / 'labels.npy'}: damaged: {_remedy(self.folder)}")
        candidates, view = np.arange(len(labels)), name
        if val_fraction is not None:
            candidates = np.flatnonzero(held_out(labels, self.paths("train"), val_fraction) == (name == "val"))
            view = f"{name} of {val_fraction}"
        rows = candidates[choose_rows(labels[candidates], classes, limit, name)]
        if not len(rows):
            raise DataError(f"{manifest['source']['location']}: no {name} images: {EMPTY[name]}")
        return Split(
            name=name,
            pixels=self._array(folder, "pixels"),
            rows=rows,
            labels=labels[rows],
            class_names=manifest["class_names"][:classes],
            classes=manifest["classes"][:classes],
            image_size=manifest["image_size"],
            mean=tuple(manifest["mean"]),
            std=tuple(manifest["std"]),
            jpeg=self._array(folder, "jpeg") if manifest["jpeg"] else None,
            offsets=self._array(folder, "offsets") if manifest["jpeg"] else None,
            fingerprint=view_fingerprint(self.fingerprint, view, classes, len(rows)),
        )

    def paths(self, name: str) -> list[str]:
        """Returns the name inside the source of every row of the "train" or "val" split."""
        return json.loads((self.folder / "paths.json").read_text(encoding="utf-8"))[name]

    def _array(self, split, name):
        """Returns an array of the pack: large ones mapped read-only, the others in memory."""
        large, path = name in ("pixels", "jpeg"), self.folder / split / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r" if large else None)
        except (OSError, ValueError, EOFError):
            raise DataError(f"{path}: damaged: {_remedy(self.folder)}") from None


def open_pack(source: Source, image_size: int = 64, cache: Path | None = None, progress: bool = True,
              on_message: Callable[[str], None] | None = None, rebuild: bool = False,
              skip_corrupt: float | None = None) -> Pack:
    """Returns the Pack of a Source with square images of `image_size` pixels: reused if there is one, else built.

    cache: where packs lie, default `cache_dir()`. progress: shows a bar if stderr is a terminal. on_message: gets the
    few lines worth telling; by default they go to stderr. rebuild: builds even if there is one. skip_corrupt: see
    `build_pack`. Several processes may call this at once: one builds, the others wait. Raises DataError for bad
    sources, damaged packs, and folders that cannot be written or have no space.
    """
    on_message = on_message or tell
    folder = _folder(source, image_size, cache)
    pack = None if rebuild else _find_in(folder)
    if pack:
        return _telling_skipped(pack, on_message)
    make_folder(folder.parent)
    lock = folder.with_name(f"{folder.name}.lock")
    with locked(lock, lambda: on_message(f"another process is packing {source.location}: waiting for it")):
        pack = None if rebuild else _find_in(folder)
        if not pack:
            started = time.monotonic()
            with atomic_folder(folder) as temporary:
                build_pack(source, image_size, temporary, progress, skip_corrupt)
            pack = _find_in(folder)
            seconds = time.monotonic() - started
            on_message(f"packed {source.location} once, in {seconds:.1f} s; later runs reuse {folder}")
    return _telling_skipped(pack, on_message)


def _telling_skipped(pack, on_message):
    """Returns the pack; says how many files it lacks."""
    if pack.skipped:
        on_message(f"{pack.folder}: leaves out {len(pack.skipped)} of the data's files as unreadable, such as "
                   f"{pack.skipped[0]['path']}; its manifest.json names all")
    return pack


def open_splits(config: RunConfig, on_message: Callable[[str], None] | None = None) -> tuple[Split, Split]:
    """Returns the training and the validation Split of a config, packed on first use; `on_message`: see `open_pack`."""
    source = open_source(config.data)
    pack = open_pack(source, config.image_size, on_message=on_message)
    limits = {"train": config.limit_train, "val": config.limit_val}
    train, val = (pack.split(name, config.classes, limit, config.val_fraction) for name, limit in limits.items())
    if config.photo_side:
        photos = open_photos(source, pack.paths("train"), pack.fingerprint, config.photo_side, on_message)
        train = replace(train, photos=photos)
        small = int((photos.shapes[train.rows].min(1) < config.image_size).sum())
        if small:
            (on_message or tell)(f"warning: {small:,} of {len(train):,} training photos have a side below "
                                 f"{config.image_size} px: every crop of them is enlarged")
    return train, val


def find_pack(source: Source, image_size: int = 64, cache: Path | None = None) -> Pack | None:
    """Returns the Pack that `open_pack` would reuse, or None; builds nothing."""
    return _find_in(_folder(source, image_size, cache))


def verify(pack: Pack) -> None:
    """Hashes every file of a pack; DataError names all that were altered or cut."""
    check_files(pack.folder, pack.manifest["files"], _remedy(pack.folder), thorough=True)


def _folder(source, image_size, cache):
    """Returns where the pack of a source lies, or would."""
    if not 8 <= image_size <= 4096:
        raise ConfigError(f"--image-size {image_size}: choose 8 to 4096")
    return Path(cache or cache_dir()) / "packs" / f"{source.fingerprint()}-{image_size}"


def _find_in(folder):
    """Returns the Pack in `folder`, its files checked by size and time stamp; None if none of this schema is there."""
    if not folder.is_dir():
        return None
    manifest = read_manifest(folder, _remedy(folder))
    if manifest["schema"] != SCHEMA:
        return None
    files = check_files(folder, manifest["files"], _remedy(folder))
    if files != manifest["files"]:
        manifest = {**manifest, "files": files}
        _refresh(folder, manifest)
    return Pack(folder, manifest)


def _refresh(folder, manifest):
    """Saves the time stamps of files that were copied or touched, so that they are hashed only once."""
    try:
        write_manifest(folder, manifest)
    except DataError:
        return  # a pack in a read-only folder is as good; it is hashed each time


def _remedy(folder):
    return f"run `fasttrain data pack --rebuild`, or delete {folder}"
