"""Packs: what they hold, that they are reused, shared, and never trusted when something changed."""

import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fasttrain.data import decode
from fasttrain.data.pack import build, find_pack
from fasttrain.data.sources import open_source
from fasttrain.errors import ConfigError, DataError
from tests.data.packs import pack_of
from tests.data.trees import encoded, files_below, image, image_folder, make_tar, make_zip


def test_pixels_labels_and_names_are_those_of_the_source(tree, packed):
    index = open_source(str(tree)).index()
    for name, items in (("train", index.train), ("val", index.val)):
        split = packed.split(name)
        assert packed.paths(name) == [item.path for item in items]
        assert split.labels.tolist() == [item.label for item in items]
        for row, item in zip(split.rows, items, strict=True):
            with Image.open(io.BytesIO(item.read())) as picture:
                assert np.array_equal(split.pixels[row], np.asarray(picture.convert("RGB")))
            assert split.jpeg[split.offsets[row]:split.offsets[row + 1]].tobytes() == item.read()


def test_arrays_have_the_stated_types(packed):
    split = packed.split("train")
    assert (split.pixels.shape, split.pixels.dtype, split.pixels.flags.writeable) == ((15, 16, 16, 3), np.uint8, False)
    assert isinstance(split.pixels, np.memmap) and isinstance(split.jpeg, np.memmap)
    assert split.labels.dtype == split.rows.dtype == split.offsets.dtype == np.int64
    assert split.jpeg.dtype == np.uint8 and split.offsets[-1] == len(split.jpeg)
    assert (len(split), split.num_classes, split.image_size) == (15, 3, 16)


def test_moments_are_those_of_the_train_pixels(packed):
    pixels = packed.split("train").pixels / 255
    assert np.allclose(packed.manifest["mean"], pixels.mean((0, 1, 2)), atol=1e-12)
    assert np.allclose(packed.manifest["std"], pixels.std((0, 1, 2)), atol=1e-12)
    assert packed.split("val").mean == packed.split("train").mean == tuple(packed.manifest["mean"])


def test_moments_of_a_single_colour_do_not_vanish(tmp_path):
    path = tmp_path / "data" / "train" / "gray" / "1.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (16, 16), (51, 51, 51)).save(path)
    manifest = pack_of(tmp_path / "data", tmp_path).manifest
    assert manifest["mean"] == [0.2] * 3 and manifest["std"] == [1 / 255] * 3


def test_folder_zip_and_tar_give_the_same_pack(tree, tmp_path, packed):
    for location in (make_zip(tmp_path / "x.zip", tree), make_tar(tmp_path / "x.tar.xz", tree)):
        other = pack_of(location, tmp_path)
        assert other.folder != packed.folder and other.fingerprint == packed.fingerprint
        assert other.split("train", 2, 3).fingerprint == packed.split("train", 2, 3).fingerprint
        files = [path.relative_to(packed.folder) for path in files_below(packed.folder) if path.name != "manifest.json"]
        assert len(files) == 9
        assert all((packed.folder / file).read_bytes() == (other.folder / file).read_bytes() for file in files)


def test_both_decoders_give_the_same_pack(tree, tmp_path, packed, monkeypatch):
    monkeypatch.setattr(decode, "simplejpeg", None)
    other = pack_of(tree, tmp_path, rebuild=True)
    assert other.manifest["decoder"].startswith("Pillow") and other.fingerprint == packed.fingerprint


def test_chunks_do_not_change_the_pack(tree, tmp_path, packed, monkeypatch):
    monkeypatch.setattr(build, "CHUNK", 2 * 16 * 16)
    again = pack_of(tree, tmp_path, rebuild=True)
    assert again.manifest["mean"] == packed.manifest["mean"] and again.fingerprint == packed.fingerprint


def test_views(packed):
    view = packed.split("train", classes=2, limit=5)
    assert view.rows.tolist() == [0, 1, 2, 5, 6] and view.labels.tolist() == [0, 0, 0, 1, 1]
    assert view.classes == packed.manifest["classes"][:2] and view.class_names == packed.manifest["class_names"][:2]
    assert len(view.pixels) == 15
    assert view.fingerprint != packed.split("train", classes=2, limit=4).fingerprint
    assert packed.split("train", classes=3, limit=99).fingerprint == packed.split("train").fingerprint
    for classes in (0, 4):
        with pytest.raises(ConfigError, match="choose 1 to 3"):
            packed.split("val", classes=classes)


def test_empty_val_says_what_to_add(tmp_path):
    packed = pack_of(image_folder(tmp_path / "data", ["train/a/1.png"]), tmp_path)
    with pytest.raises(DataError, match="no val images: add val/images with val/val_annotations.txt"):
        packed.split("val")


def test_val_alone_packs_with_its_own_moments(tmp_path):
    packed = pack_of(image_folder(tmp_path / "data", ["val/a/1.png"]), tmp_path)
    assert len(packed.split("val")) == 1 and packed.manifest["mean"][0] > 0.2
    with pytest.raises(DataError, match="no train images: add images below train"):
        packed.split("train")


@pytest.mark.parametrize("odd", [encoded(image(), "PNG"), encoded(image(size=(20, 17))), encoded(image(mode="CMYK"))])
def test_one_odd_image_and_there_is_no_jpeg_array(tree, tmp_path, odd):
    (tree / "train" / "n90000001" / "images" / "n90000001_7.JPEG").write_bytes(odd)
    packed = pack_of(tree, tmp_path)
    split = packed.split("train")
    assert packed.manifest["jpeg"] is False and split.jpeg is None and split.offsets is None
    assert not [path for path in files_below(packed.folder) if path.name in ("jpeg.npy", "offsets.npy")]
    assert len(split) == 16 and split.pixels[10].any()


def test_second_use_reads_nothing_of_the_source(tree, tmp_path, packed, monkeypatch):
    monkeypatch.setattr("fasttrain.data.pack.build_pack", None)
    again = pack_of(tree, tmp_path)
    assert again.manifest == packed.manifest and find_pack(open_source(str(tree)), 16, tmp_path / "cache") == again
    assert find_pack(open_source(str(tree)), 24, tmp_path / "cache") is None


def test_changed_source_is_packed_anew(tree, tmp_path, packed):
    shutil.copy(tree / "train/n90000001/images/n90000001_0.JPEG", tree / "train/n90000001/images/n90000001_9.JPEG")
    again = pack_of(tree, tmp_path)
    assert len(again.split("train")) == 16 and again.folder != packed.folder


def test_rebuild_replaces(tree, tmp_path, packed):
    before = (packed.folder / "manifest.json").stat().st_ino
    told = []
    again = pack_of(tree, tmp_path, rebuild=True, on_message=told.append)
    assert again.folder == packed.folder and (again.folder / "manifest.json").stat().st_ino != before
    assert len(told) == 1 and str(tree) in told[0]


def test_pack_of_another_schema_is_built_anew(tree, tmp_path, packed, monkeypatch):
    for module in ("pack", "pack.build"):
        monkeypatch.setattr(f"fasttrain.data.{module}.SCHEMA", 99)
    assert pack_of(tree, tmp_path).manifest["schema"] == 99


def test_touched_files_are_hashed_once_and_accepted(tree, tmp_path, packed, monkeypatch):
    os.utime(packed.folder / "train" / "pixels.npy", ns=(5, 5))
    again = pack_of(tree, tmp_path)
    assert again.manifest["files"]["train/pixels.npy"]["mtime_ns"] == 5
    monkeypatch.setattr("fasttrain.data.pack.manifest.hash_file", None)
    assert pack_of(tree, tmp_path).manifest == again.manifest


def test_touched_files_in_a_folder_that_cannot_be_written(tree, tmp_path, packed, monkeypatch):
    os.utime(packed.folder / "train" / "pixels.npy", ns=(5, 5))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert len(pack_of(tree, tmp_path).split("train")) == 15


@pytest.mark.parametrize("image_size", [0, 7, 5000])
def test_image_size_out_of_bounds(tree, tmp_path, image_size):
    with pytest.raises(ConfigError, match="choose 8 to 4096"):
        pack_of(tree, tmp_path, image_size=image_size)


PACK = """
import sys
from pathlib import Path
from fasttrain.data import pack
from fasttrain.data.pack import build as pack_build
from fasttrain.data.sources import open_source
def build(*arguments):
    print("building", flush=True)
    sys.stdin.readline()
    pack_build.build_pack(*arguments)
pack.build_pack = build
print(pack.open_pack(open_source(sys.argv[1]), 16, Path(sys.argv[2]), on_message=print).fingerprint, flush=True)
"""


def test_two_processes_share_one_build(tree, tmp_path):
    command = [sys.executable, "-c", PACK, str(tree), str(tmp_path / "cache")]
    start = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **start) as first:
        assert first.stdout.readline() == "building\n"
        with subprocess.Popen(command, **start) as second:
            waiting = second.stdout.readline()
            assert waiting == f"another process is packing {tree}: waiting for it\n"
            told, fingerprint = first.communicate("go\n", timeout=60)[0].splitlines()
            assert told.startswith(f"packed {tree} once")
            assert second.communicate(timeout=60)[0].splitlines() == [fingerprint]
    assert first.returncode == second.returncode == 0


def test_names_that_are_not_utf8(tmp_path):
    root = image_folder(tmp_path / "data", ["train/a/1.png"])
    name = os.fsdecode(b"\xff\xfe.png")
    shutil.copy(root / "train/a/1.png", root / "train" / "a" / name)
    packed = pack_of(root, tmp_path)
    assert packed.paths("train") == ["train/a/1.png", f"train/a/{name}"]
    assert json.loads((packed.folder / "manifest.json").read_text())["counts"] == {"train": 2, "val": 0}
