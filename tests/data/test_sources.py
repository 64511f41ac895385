"""Sources: one index, whatever holds the files; bad layouts are named in one line."""

import os
import shutil

import pytest

from fasttrain.data.sources import open_source
from fasttrain.data.sources.directory import DirectorySource
from fasttrain.errors import ConfigError, DataError
from tests.data.trees import files_below, image_folder, make_tar, make_zip, official


@pytest.fixture
def tree(tmp_path):
    return official(tmp_path)


def summary(source):
    """Everything an index says, the bytes of the images included."""
    index = source.index()
    splits = [[(item.path, item.label, item.read()) for item in split] for split in (index.train, index.val)]
    return index.classes, index.class_names, splits


def fails(location, *words, error=DataError):
    """Indexing a location gives one line that has all the words in it."""
    with pytest.raises(error) as caught:
        source = open_source(str(location))
        source.fingerprint()
        source.index()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_folder_zip_and_tar_give_the_same(tree, tmp_path):
    files = files_below(tree)
    parts = tmp_path / "parts"
    parts.mkdir()
    make_tar(parts / "a.tar.xz", tree, files[1::2])
    make_tar(parts / "b.tar.xz", tree, files[::2])
    expected = summary(open_source(str(tree)))
    assert [len(split) for split in expected[2]] == [12, 6]
    for location in (tree.parent, make_zip(tmp_path / "x.zip", tree), parts, make_tar(tmp_path / "one.tar.xz", tree)):
        assert summary(open_source(str(location))) == expected


def test_archive_of_the_tree_without_a_folder_around_it(tree, tmp_path):
    assert summary(open_source(str(make_tar(tmp_path / "flat.tar.xz", tree, prefix=".")))) == summary(open_source(tree))


def test_some_parts_are_a_smaller_set(tree, tmp_path):
    files = files_below(tree)
    half = [file for file in files if "train" in file.parts and file.name.endswith(("_0.JPEG", "_2.JPEG"))]
    index = open_source(str(make_tar(tmp_path / "part1.tar.xz", tree, half))).index()
    assert (len(index.classes), len(index.train), len(index.val)) == (3, 6, 0)


def test_labels_follow_sorted_ids_and_names_come_from_words(tree):
    index = open_source(str(tree)).index()
    assert (tree / "wnids.txt").read_text().split() != index.classes == sorted(index.classes)
    words = dict(line.split("\t") for line in (tree / "words.txt").read_text().splitlines())
    assert index.class_names == [words[wnid] for wnid in index.classes]
    assert all(index.classes[item.label] in item.path for item in index.train)


def test_only_the_first_of_several_words_names_a_class(tree):
    first = sorted((tree / "wnids.txt").read_text().split())[0]
    (tree / "words.txt").write_text(f"{first}\tgoldfish, Carassius auratus\n")
    assert open_source(str(tree)).index().class_names[:2] == ["goldfish", open_source(str(tree)).index().classes[1]]


def test_canonical_order_is_by_label_then_natural_number(tmp_path):
    names = [f"train/{wnid}/{wnid}_{number}.png" for wnid in ("b", "a") for number in (10, 9, 100, 1)]
    index = open_source(str(image_folder(tmp_path, names))).index()
    assert [item.path for item in index.train] == [f"train/{w}/{w}_{n}.png" for w in "ab" for n in (1, 9, 10, 100)]
    assert [item.label for item in index.train] == [0] * 4 + [1] * 4


def test_image_folder_with_other_formats_and_clutter(tmp_path):
    root = image_folder(tmp_path, ["train/cat/1.png", "train/cat/deep/2.BMP", "train/dog/a.jpg", "val/dog/b.jpeg"])
    for junk in ("train/cat/notes.txt", "train/cat/.hidden.png", "train/.DS_Store", "train/lone.txt"):
        (root / junk).write_text("no image")
    index = open_source(str(root)).index()
    assert index.classes == index.class_names == ["cat", "dog"]
    assert [item.path for item in index.train] == ["train/cat/1.png", "train/cat/deep/2.BMP", "train/dog/a.jpg"]
    assert [(item.path, item.label) for item in index.val] == [("val/dog/b.jpeg", 1)]


def test_val_sorted_into_class_folders(tree):
    images = tree / "val" / "images"
    for line in (tree / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        (tree / "val" / wnid).mkdir(exist_ok=True)
        (images / name).rename(tree / "val" / wnid / name)
    images.rmdir()
    assert [item.label for item in open_source(str(tree)).index().val] == [0, 0, 1, 1, 2, 2]


def test_no_val_is_left_to_whoever_needs_it(tree):
    shutil.rmtree(tree / "val")
    assert open_source(str(tree)).index().val == []


def test_fingerprint_follows_names_sizes_and_times(tree):
    def fingerprint():
        return open_source(str(tree)).fingerprint()

    seen = [fingerprint()]
    file = files_below(tree / "train")[1]
    assert fingerprint() == seen[0]
    os.utime(file, ns=(1, 1))
    seen.append(fingerprint())
    file.rename(file.with_name("other_7.JPEG"))
    seen.append(fingerprint())
    (tree / "train" / "notes.txt").write_text("not looked at")
    assert len(set(seen)) == 3 and fingerprint() == seen[-1]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_fingerprint_of_an_archive(tree, tmp_path, make):
    path = make(tmp_path / ("x.zip" if make is make_zip else "x.tar.xz"), tree)
    before = open_source(str(path)).fingerprint()
    assert before == open_source(str(path)).fingerprint()
    os.utime(path, ns=(1, 1))
    assert before != open_source(str(path)).fingerprint()


def test_without_location_environment_then_data_then_cache(tree, tmp_path, monkeypatch):
    for name, root in (("env", tmp_path / "env"), ("here", tmp_path / "work" / "data"), ("cached", tmp_path / "cache")):
        image_folder(root, [f"train/{name}/1.png"])
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("FASTTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FASTTRAIN_DATA", str(tmp_path / "env"))
    assert open_source().index().classes == ["env"]
    monkeypatch.delenv("FASTTRAIN_DATA")
    assert open_source().index().classes == ["here"]
    shutil.rmtree("data")
    assert open_source().index().classes == ["cached"]


def test_without_any_data_one_line_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTTRAIN_CACHE", str(tmp_path / "none"))
    with pytest.raises(DataError) as caught:
        open_source()
    for words in ("fasttrain data fetch", "--data PATH", "fasttrain run --data synthetic:classes=10 --epochs 5"):
        assert words in str(caught.value)


def test_fetched_archive_in_the_cache_is_found(tree, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    make_zip(tmp_path / "cache" / "tiny-imagenet-200.zip", tree)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("FASTTRAIN_CACHE", str(tmp_path / "cache"))
    assert open_source().kind == "zip"


def test_missing_and_empty_folders(tmp_path):
    fails(tmp_path / "absent", "absent", "no such file or folder")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "empty folder")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("?")
    fails(tmp_path / "other", "no data in this folder")
    fails(tmp_path / "other" / "file.txt", "file.txt", "not data")
    (tmp_path / "bare" / "train").mkdir(parents=True)
    fails(tmp_path / "bare", "no images")


def annotations(tree):
    return tree / "val" / "val_annotations.txt"


def test_annotation_that_names_no_image(tree):
    lines = annotations(tree).read_text().splitlines()
    annotations(tree).write_text("\n".join([*lines, lines[0].replace("val_0", "val_77")]) + "\n")
    fails(tree, "line 7", "val/images/val_77.JPEG", "does not exist")


def test_annotation_that_is_named_twice(tree):
    text = annotations(tree).read_text()
    annotations(tree).write_text(text + text.splitlines()[2])
    fails(tree, "line 7", "val_2.JPEG", "twice")


def test_annotation_without_a_class(tree):
    annotations(tree).write_text("val_0.JPEG\n")
    fails(tree, "line 1", "val_0.JPEG")


def test_val_image_without_annotation(tree):
    lines = annotations(tree).read_text().splitlines(keepends=True)
    annotations(tree).write_text("".join(lines[:2] + lines[3:]))
    fails(tree, "val/images/val_2.JPEG has no line")


def test_val_images_without_annotations(tree):
    annotations(tree).unlink()
    fails(tree, "val_annotations.txt", "missing")


def test_annotation_of_an_unknown_class(tree):
    text = annotations(tree).read_text()
    annotations(tree).write_text(text.replace(text.split("\t")[1], "n00000000"))
    fails(tree, "val/images/", "n00000000")


def test_train_folder_that_wnids_does_not_list(tree):
    (tree / "train" / "n90000002").rename(tree / "train" / "n99999999")
    fails(tree, "train/n99999999/", "wnids.txt")


def test_class_without_training_images(tree):
    shutil.rmtree(tree / "train" / "n90000001")
    fails(tree, "n90000001", "no training image")


def test_link_that_leads_nowhere(tree):
    (tree / "train" / "n90000001" / "images" / "n90000001_9.JPEG").symlink_to("nowhere")
    fails(tree, "cannot read n90000001_9.JPEG")


def test_pipe_among_the_images(tree):
    os.mkfifo(tree / "train" / "n90000001" / "images" / "n90000001_9.JPEG")
    fails(tree, str(tree / "train" / "n90000001" / "images" / "n90000001_9.JPEG"), "not a regular file: remove it")


def test_file_that_vanishes_is_named(tree):
    item = open_source(str(tree)).index().train[0]
    (tree / item.path).unlink()
    with pytest.raises(DataError, match=item.path):
        item.read()


@pytest.mark.parametrize("text, words", [
    ("synthetic:class=3", ["class", "did you mean 'classes'"]),
    ("synthetic:classes=0", ["classes=0", "1 to"]),
    ("synthetic:classes=ten", ["classes=ten"]),
    ("synthetic:size=4", ["size=4", "8 to"]),
])
def test_bad_synthetic_settings(text, words):
    fails(text, *words, error=ConfigError)


def test_a_loop_of_links_adds_no_image(tree):
    before = DirectorySource(tree).files
    (tree / "train" / "n90000001" / "again").symlink_to(tree / "train" / "n90000001")
    (tree / "train" / "n90000001" / "images" / "top").symlink_to(tree / "train")
    assert DirectorySource(tree).files == before
