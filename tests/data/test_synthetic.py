"""Synthetic data: real JPEG files in the official layout, the same bytes for the same seed."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from fasttrain.data.sources import open_source
from fasttrain.data.sources.drawing import VARIETY, draw, look_of
from fasttrain.data.sources.outlines import OUTLINES, STEPS
from fasttrain.data.sources.synthetic import Spec, synthesize
from fasttrain.errors import ConfigError
from tests.data.trees import files_below

SPEC = Spec(classes=3, train=5, val=2, size=24, seed=7)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "data"
    synthesize(folder, SPEC)
    return folder


def pixels_of(seed, label, images, size=24):
    return draw(seed, label, look_of(seed, label), np.asarray(images), size)[0]


def test_same_seed_same_bytes(drawn, tmp_path):
    synthesize(tmp_path / "again", SPEC)
    first, again = (files_below(root) for root in (drawn, tmp_path / "again"))
    assert [file.relative_to(drawn) for file in first] == [file.relative_to(tmp_path / "again") for file in again]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, again, strict=True))


def test_the_pixels_are_pinned():
    """The bytes are a promise across machines and versions; a change needs a new synthetic.VERSION."""
    digest = hashlib.sha256()
    for label in range(8):
        digest.update(pixels_of(0, label, range(6), 64).tobytes())
    assert digest.hexdigest()[:16] == "24cfdfb741b8f985"


def test_an_image_depends_on_its_own_number_alone():
    together = pixels_of(1, 2, range(5))
    for number in range(5):
        assert np.array_equal(pixels_of(1, 2, [number])[0], together[number])


def test_seed_class_and_number_each_change_the_image():
    base = pixels_of(1, 2, [3])
    assert not any(np.array_equal(base, pixels_of(*other)) for other in ((2, 2, [3]), (1, 3, [3]), (1, 2, [4])))


def test_classes_differ_in_look():
    looks = [look_of(5, label) for label in range(VARIETY + 10)]
    assert len({look.name for look in looks}) == len({look[:3] for look in looks}) == len(looks)


def test_tables_are_far_from_rounding_either_way():
    """A sin() that is wrong in its last bit rounds to the same table."""
    turns = np.arange(STEPS) * (2 * np.pi / STEPS)
    steps = np.abs(np.sin(turns)) * 2**14
    assert np.min(np.abs(steps - np.floor(steps) - 0.5)) > 1e-6
    assert OUTLINES.dtype == np.float32 and OUTLINES.min() > 0 and OUTLINES.max() == 1


def test_official_layout(drawn):
    wnids = (drawn / "wnids.txt").read_text().split()
    assert sorted(wnids) == ["n90000000", "n90000001", "n90000002"]
    assert sorted(line.split("\t")[0] for line in (drawn / "words.txt").read_text().splitlines()) == sorted(wnids)
    for wnid in wnids:
        images = sorted(file.name for file in (drawn / "train" / wnid / "images").iterdir())
        assert images == [f"{wnid}_{number}.JPEG" for number in range(5)]
        boxes = (drawn / "train" / wnid / f"{wnid}_boxes.txt").read_text().splitlines()
        assert [line.split("\t")[0] for line in boxes] == images
        for line in boxes:
            left, top, right, bottom = map(int, line.split("\t")[1:])
            assert 0 <= left < right < 24 and 0 <= top < bottom < 24
    annotations = (drawn / "val" / "val_annotations.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in annotations] == [f"val_{number}.JPEG" for number in range(6)]
    assert sorted(line.split("\t")[1] for line in annotations) == sorted(wnids * 2)


def test_files_are_jpeg_and_some_are_grayscale(tmp_path):
    synthesize(tmp_path / "many", Spec(classes=2, train=200, val=0, size=8))
    modes = []
    for file in files_below(tmp_path / "many" / "train"):
        if file.suffix == ".JPEG":
            with Image.open(file) as picture:
                assert (picture.format, picture.size) == ("JPEG", (8, 8))
                modes.append(picture.mode)
    assert modes.count("RGB") + modes.count("L") == 400 and 1 <= modes.count("L") <= 25


def test_source_draws_once_and_reuses(monkeypatch):
    location = "synthetic:classes=2,train=2,val=1,size=16,seed=3"
    index = open_source(location).index()
    assert (len(index.train), len(index.val), index.classes) == (4, 2, ["n90000000", "n90000001"])
    monkeypatch.setattr("fasttrain.data.sources.synthetic.synthesize", None)
    again = open_source("synthetic:seed=3,size=16,val=1,train=2,classes=2")
    assert [item.read() for item in again.index().train] == [item.read() for item in index.train]


def test_default_size():
    assert str(Spec.parse("synthetic")) == "synthetic:classes=200,train=50,val=10,size=64,seed=0"


def test_folder_that_exists_is_left_alone(drawn):
    with pytest.raises(ConfigError, match="exists already"):
        synthesize(drawn, SPEC)


def test_nothing_is_left_of_a_drawing_that_failed(tmp_path, monkeypatch):
    monkeypatch.setattr("fasttrain.data.sources.synthetic._encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        synthesize(tmp_path / "data", SPEC)
    assert list(tmp_path.iterdir()) == []
