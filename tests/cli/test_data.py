"""`fasttrain data ...`: what the commands print and return."""

import shutil

import pytest

from fasttrain import storage
from fasttrain.cli import data_actions as data
from fasttrain.cli.main import main
from fasttrain.errors import DataError
from tests.data.trees import encoded, image, official

SYNTHETIC = "synthetic:classes=3,train=4,val=2,size=16,seed=8"


@pytest.fixture
def tree(tmp_path):
    return official(tmp_path)


def test_pack_then_verify(capsys):
    packed = data.pack(SYNTHETIC, image_size=16)
    assert "12 training and 6 validation images of 16 x 16, 3 classes" in capsys.readouterr().out
    assert data.verify(SYNTHETIC, image_size=16) == packed
    assert "all 9 files are as they were written" in capsys.readouterr().out


def test_pack_rebuild(capsys):
    inode = (data.pack(SYNTHETIC, 16).folder / "paths.json").stat().st_ino
    assert (data.pack(SYNTHETIC, 16, rebuild=True).folder / "paths.json").stat().st_ino != inode


def test_verify_of_what_is_not_packed(tree):
    with pytest.raises(DataError, match="run `fasttrain data pack` first"):
        data.verify(str(tree))


def test_verify_names_the_altered_file(tree):
    packed = data.pack(str(tree), 16)
    path = packed.folder / "train" / "pixels.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match="train/pixels.npy"):
        data.verify(str(tree), 16)


def test_unreadable_images_are_left_out_on_demand_and_info_lists_them_all(tree, capsys):
    names = [f"train/n9000000{label}/images/n9000000{label}_{number}.JPEG" for label in range(3) for number in (0, 2)]
    for name in names:
        (tree / name).write_bytes((tree / name).read_bytes()[:-40])  # a whole header
    found = data.info(str(tree))
    out = capsys.readouterr().out
    assert found.splits["train"].unreadable == names and all(f"unreadable: {name}" in out for name in names)
    pack = ["data", "pack", "--data", str(tree), "--image-size", "16"]
    for flags, code in (([], 3), (["--skip-corrupt"], 3), (["--skip-corrupt=101%"], 2), (["--skip-corrupt=40%"], 0)):
        assert main([*pack, *flags]) == code
    printed = capsys.readouterr()
    assert "6 training and 6 validation images" in printed.out and "leaves out 6 of" in printed.err
    errors = [line for line in printed.err.splitlines() if "skip-corrupt" in line]
    assert len(errors) == 3 and all(name in line for line in errors[:2] for name in names)


def test_verify_names_what_was_left_out_and_the_class_that_it_empties(tree, capsys):
    images = sorted((tree / "train" / "n90000001" / "images").iterdir())
    for path in images:
        path.write_bytes(b"no image")
    data.pack(str(tree), 16, skip_corrupt=50)
    data.verify(str(tree), 16)
    out = capsys.readouterr().out
    assert all(f"left out: train/n90000001/images/{path.name}: " in out for path in images)
    assert "without a training image, kept as classes: n90000001\n" in out


def test_info_counts_and_tells_oddities(tree, capsys):
    images = tree / "train" / "n90000001" / "images"
    shutil.copy(images / "n90000001_0.JPEG", tree / "train" / "n90000002" / "images" / "n90000002_7.JPEG")
    (images / "n90000001_8.JPEG").write_bytes(encoded(image(size=(20, 30), mode="L"), "PNG"))
    (images / "n90000001_9.JPEG").write_bytes(b"no image")
    found = data.info(str(tree))
    train, val = found.splits["train"], found.splits["val"]
    assert (train.images, val.images, train.grayscale, train.unreadable) == (15, 6, 1, [
        "train/n90000001/images/n90000001_9.JPEG"])
    assert train.sizes == {"16 x 16": 13, "20 x 30": 1} and train.formats == {"JPEG": 13, "PNG": 1}
    assert sorted(train.per_class.values()) == [4, 5, 6]
    assert [[sample.label for sample in group] for group in found.duplicates] == [[1, 2]]
    out = capsys.readouterr().out
    for words in (str(tree), "4 to 6", "20 x 30: 1", "unreadable: train/n90000001/images/n90000001_9.JPEG",
                  "identical files: 1 groups, 1 of them with different labels"):
        assert words in out, words


def test_synth_on_a_full_disk_names_its_own_folder(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "sync", full)
    with pytest.raises(DataError, match="free some space or name another folder"):
        data.synth(tmp_path / "drawn", classes=1, train=1, val=1, size=16)
    assert not list(tmp_path.iterdir())


def test_synth_makes_data_that_packs(tmp_path, capsys):
    folder = data.synth(tmp_path / "drawn", classes=2, train=3, val=1, size=16)
    assert "6 training and 2 validation images" in capsys.readouterr().out
    assert data.pack(str(folder), 16).manifest["counts"] == {"train": 6, "val": 2}
