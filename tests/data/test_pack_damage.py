"""Packs that are damaged, images that cannot be read, disks that fill up: found and named, nothing half-written."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fasttrain.data.pack import build, verify
from fasttrain.data.pack.manifest import read_manifest
from fasttrain.errors import DataError
from tests.data.packs import fails, pack_of

NAMES = ["train/pixels.npy", "train/labels.npy", "train/jpeg.npy", "train/offsets.npy", "val/pixels.npy", "paths.json",
         "manifest.json"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_altered_pack_is_refused(tree, tmp_path, packed, name, damage):
    path = packed.folder / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) * 2 // 3] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-3])
    else:
        path.unlink()
    with pytest.raises(DataError) as caught:
        pack_of(tree, tmp_path)
    message = str(caught.value)
    assert str(path) in message and "fasttrain data pack --rebuild" in message and "\n" not in message
    assert pack_of(tree, tmp_path, rebuild=True).fingerprint == packed.fingerprint


def test_every_byte_of_the_manifest_counts(tree, tmp_path, packed):
    path = packed.folder / "manifest.json"
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        path.write_bytes(bad)
        with pytest.raises(DataError, match="manifest.json"):
            read_manifest(packed.folder, "remedy")


BITS = [("pixels", 0, 1), ("pixels", 30, 1), ("labels", -1, 128), ("labels", -2, 1)]


@pytest.mark.parametrize("name, place, bit", BITS)
def test_bits_that_time_stamps_hide_are_one_line_where_they_show(packed, name, place, bit):
    path = packed.folder / "train" / f"{name}.npy"
    stamp, content = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)
    os.utime(path, ns=(stamp, stamp))
    with pytest.raises(DataError, match=f"{name}.npy: damaged: run `fasttrain data pack --rebuild`"):
        packed.split("train")


def test_verify_hashes_what_time_stamps_hide(packed):
    verify(packed)
    path = packed.folder / "val" / "pixels.npy"
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match="val/pixels.npy: altered"):
        verify(packed)


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: b"no image", lambda data: b"",
                                    lambda data: data[:2] + bytes(len(data) - 2)])
def test_damaged_image_is_named(tree, tmp_path, damage):
    path = tree / "train" / "n90000001" / "images" / "n90000001_3.JPEG"
    path.write_bytes(damage(path.read_bytes()))
    fails(tree, tmp_path, "train/n90000001/images/n90000001_3.JPEG: not a readable image")


def spoil(tree, *names):
    """Cuts these images off in their middle."""
    for name in names:
        data = (tree / name).read_bytes()
        (tree / name).write_bytes(data[:len(data) // 2])


BAD = ("train/n90000000/images/n90000000_1.JPEG", "train/n90000001/images/n90000001_3.JPEG", "val/images/val_2.JPEG")


def test_all_unreadable_images_are_named_and_one_may_be_left_out(tree, tmp_path):
    whole = pack_of(tree, tmp_path / "whole")
    spoil(tree, *BAD)
    fails(tree, tmp_path, *BAD, "--skip-corrupt")
    with pytest.raises(DataError, match="leave out more than 1") as caught:
        pack_of(tree, tmp_path, skip_corrupt=0.001)
    assert all(name in str(caught.value) for name in BAD)

    told = []
    packed = pack_of(tree, tmp_path, skip_corrupt=3 / 21, on_message=told.append)
    assert sorted(found["path"] for found in packed.skipped) == sorted(BAD) and all(f["reason"] for f in packed.skipped)
    assert packed.manifest["counts"] == {"train": 13, "val": 5} and packed.fingerprint != whole.fingerprint
    assert "leaves out 3 of the data's files" in told[-1] and "skipped" not in whole.manifest
    for name in ("train", "val"):
        split, paths = packed.split(name), packed.paths(name)
        kept = [row for row, path in enumerate(whole.paths(name)) if path not in BAD]
        assert paths == [whole.paths(name)[row] for row in kept]
        assert np.array_equal(split.pixels, whole.split(name).pixels[kept])
        assert np.array_equal(split.labels, whole.split(name).labels[kept])
        for row, path in enumerate(paths):
            assert split.jpeg[split.offsets[row]:split.offsets[row + 1]].tobytes() == (tree / path).read_bytes()
    again = pack_of(tree, tmp_path, on_message=told.append)
    assert again.skipped == packed.skipped and told[-1] == told[-2]
    verify(again)


def test_verifying_names_all_files_that_differ(packed):
    for name in ("train/labels.npy", "val/pixels.npy"):
        path = packed.folder / name
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="train/labels.npy: altered.*val/pixels.npy: altered"):
        verify(packed)


def test_too_little_space_is_told_before_anything_is_decoded(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    monkeypatch.setattr(build, "_decode", None)
    fails(tree, tmp_path, "0.0 MiB are free", "set FASTTRAIN_CACHE")


SHORT_DISK = """
import resource, sys
from pathlib import Path
from fasttrain.data.pack import open_pack
from fasttrain.data.sources import open_source
from fasttrain.errors import DataError
source = open_source(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    open_pack(source, 16, Path(sys.argv[2]))
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("size", [60, 300, 3000, 11000])
def test_disk_that_fills_up_while_packing(tree, tmp_path, size):
    """A limit on the size of files stands for the full disk: the write that crosses it fails."""
    command = [sys.executable, "-c", SHORT_DISK, str(tree), str(tmp_path / "cache"), str(size)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "No space left" in result.stdout and result.stdout.count("\n") == 1 and not result.stderr, result
    assert [path.suffix for path in (tmp_path / "cache" / "packs").iterdir()] == [".lock"]


def test_cache_that_cannot_be_written(tree, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="set FASTTRAIN_CACHE"):
        pack_of(tree, tmp_path)
