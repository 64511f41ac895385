"""The real Tiny-ImageNet: its facts as counted, from whatever FASTTRAIN_TEST_DATA holds."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from fasttrain.data import decode
from fasttrain.data.decode import decode_into
from fasttrain.data.pack import open_pack
from fasttrain.data.sources import open_source

VAL_LISTING = "b3abc51349edfd02516d424e42a25e42b004c62e6952536f387f984bf876d811"
TRAIN_LISTING = "75dbb952336964fe5a7790b05553b49b02b5c800bffc1da3df5d43f58b2954c7"
MEAN, STD = (0.480237, 0.448067, 0.397504), (0.276436, 0.268863, 0.281590)


@pytest.fixture(scope="module")
def location(real_data):
    """Part 0 where there are parts: it holds all validation images and a quarter of the others, and unpacks quickly."""
    return next((str(part) for part in Path(real_data).glob("*part0.tar.xz")), real_data)


@pytest.fixture(scope="module")
def source(location):
    return open_source(location)


def listing(items):
    """The checksum of the lines "sha256  path", sorted by path."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.path):
        digest.update(f"{hashlib.sha256(item.read()).hexdigest()}  {item.path}\n".encode())
    return digest.hexdigest()


def test_classes_and_counts(source):
    index = source.index()
    assert len(index.classes) == 200 and index.classes == sorted(index.classes)
    assert index.class_names[:3] == ["goldfish", "European fire salamander", "bullfrog"]
    assert len(index.train) in (25_000, 50_000, 75_000, 100_000) and len(index.val) == 10_000
    for items in (index.train, index.val):
        assert len(np.unique(np.bincount([item.label for item in items]))) == 1
    assert [item.path.rpartition("/")[2] for item in index.train[:2]] == ["n01443537_0.JPEG", (
        "n01443537_4.JPEG" if len(index.train) == 25_000 else "n01443537_1.JPEG")]


def test_pixels_are_equal_with_both_decoders(source, monkeypatch):
    pytest.importorskip("simplejpeg")
    items = source.index().train[::37] + source.index().val[::37]
    turbo, pillow = (np.zeros((len(items), 64, 64, 3), np.uint8) for _ in range(2))
    assert all([decode_into(item.read(), out) for item, out in zip(items, turbo, strict=True)])
    monkeypatch.setattr(decode, "simplejpeg", None)
    assert all([decode_into(item.read(), out) for item, out in zip(items, pillow, strict=True)])
    assert np.array_equal(turbo, pillow)
    assert np.any(np.all(turbo[..., :1] == turbo, axis=(1, 2, 3))), "no grayscale image was among them"


def test_pack_holds_the_data_set(source):
    packed = open_pack(source, progress=False, on_message=lambda text: None)
    assert packed.manifest["jpeg"] is True
    assert np.allclose(packed.manifest["mean"], MEAN, atol=2e-3)
    assert np.allclose(packed.manifest["std"], STD, atol=2e-3)
    val = packed.split("val")
    assert np.array_equal(np.bincount(val.labels), np.full(200, 50))
    ten = packed.split("train", classes=10, limit=25)
    assert np.bincount(ten.labels).tolist() == [3] * 5 + [2] * 5
    assert ten.class_names[0] == "goldfish" and ten.pixels[ten.rows].std() > 30


def test_listings_are_those_of_the_official_files(source):
    index = source.index()
    assert listing(index.val) == VAL_LISTING
    if len(index.train) == 100_000:
        assert listing(index.train) == TRAIN_LISTING
