"""A folder of images for each class: found, held out by name, and trained on with one file cut off."""

import numpy as np
import pytest

from fasttrain import RunConfig
from fasttrain.data.pack import open_splits
from fasttrain.data.sources import open_source
from fasttrain.errors import ConfigError, DataError
from tests.data.packs import pack_of
from tests.data.trees import image_folder

PHOTOS = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(20)]


@pytest.fixture
def photos(tmp_path):
    return image_folder(tmp_path / "photos", PHOTOS, (20, 16))


def names(pack, split, fraction=0.2):
    held = pack.split(split, val_fraction=fraction)
    return {pack.paths("train")[row] for row in held.rows}


def test_each_class_is_a_folder_and_some_of_it_is_held_out(photos, tmp_path):
    pack = pack_of(photos, tmp_path)
    train, val = pack.split("train", val_fraction=0.2), pack.split("val", val_fraction=0.2)
    assert train.classes == ["cat", "dog"] and np.bincount(train.labels).tolist() == [16, 16]
    assert np.bincount(val.labels).tolist() == [4, 4] and train.fingerprint != val.fingerprint
    assert names(pack, "train") | names(pack, "val") == set(PHOTOS)
    assert not names(pack, "train") & names(pack, "val")
    assert len(pack.split("val", classes=1, limit=3, val_fraction=0.2)) == 3


def test_photos_that_come_later_leave_the_others_where_they_were(photos, tmp_path):
    before = names(pack_of(photos, tmp_path), "val")
    image_folder(photos, [f"cat/new{number}.png" for number in range(5)], (20, 16))
    after = names(pack_of(photos, tmp_path), "val")
    assert len(before - after) <= 1


@pytest.mark.parametrize("fraction, held", [(0.001, 1), (0.99, 19)])
def test_one_photo_at_least_is_on_each_side(photos, tmp_path, fraction, held):
    assert np.bincount(pack_of(photos, tmp_path).split("val", val_fraction=fraction).labels).tolist() == [held, held]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, "x"])
def test_other_fractions_are_refused(fraction):
    with pytest.raises(ConfigError, match="val_fraction"):
        RunConfig(val_fraction=fraction)


def test_what_cannot_be_held_out_is_one_line(photos, tmp_path):
    image_folder(photos, ["single/1.png"])
    with pytest.raises(DataError, match=r"single/1\.png: the only image of its class"):
        pack_of(photos, tmp_path).split("val", val_fraction=0.2)
    with pytest.raises(DataError, match="--val-fraction 0.1"):
        pack_of(photos, tmp_path).split("val")
    whole = image_folder(tmp_path / "whole", ["train/a/1.png", "val/a/1.png"])
    with pytest.raises(ConfigError, match="has images to validate on: leave it out"):
        pack_of(whole, tmp_path).split("train", val_fraction=0.2)


@pytest.mark.parametrize("name", ["validation", "valid", "test"])
def test_other_names_stand_in_for_val(tmp_path, name):
    tree = image_folder(tmp_path / "tree", ["train/a/1.png", "train/b/1.png", f"{name}/b/2.png"])
    index = open_source(tree).index()
    assert [(item.path, item.label) for item in index.val] == [(f"{name}/b/2.png", 1)]
    image_folder(tree, ["val/a/3.png"])
    assert [item.path for item in open_source(tree).index().val] == ["val/a/3.png"]


@pytest.mark.parametrize("files", [["a/1.png"], ["1.png", "2.png"], ["a/deeper/1.png", "b/deeper/1.png"]])
def test_a_folder_without_two_classes_is_no_data(tmp_path, files):
    with pytest.raises(DataError, match="a folder of images for each class"):
        open_source(image_folder(tmp_path / "other", files))


def test_a_run_and_its_evaluation_hold_out_the_same(photos, tmp_path, monkeypatch):
    from fasttrain import evaluate, run

    monkeypatch.setenv("FASTTRAIN_CACHE", str(tmp_path / "cache"))
    config = RunConfig(data=str(photos), val_fraction=0.2, image_size=32, epochs=1, batch_size=8, device="cpu",
                       precision="fp32", out=str(tmp_path / "run"))
    finished = run(config, sinks=[])
    train, val = open_splits(config)
    assert (len(train), len(val)) == (32, 8)
    assert evaluate(tmp_path / "run")["val_loss"] == finished.rows[-1]["val_loss"]
