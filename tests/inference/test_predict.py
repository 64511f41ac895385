"""Naming what images show: any size, mode and format, with the transform of the data sets."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fasttrain import evaluate, predict
from fasttrain.cli.main import main
from fasttrain.data.decode import decode_photo
from fasttrain.data.pack import open_splits
from fasttrain.errors import ConfigError

SIZE = 32


@pytest.fixture(scope="module")
def picture():
    """A smooth colour picture, 90 x 70 pixels, whose corners all differ."""
    y, x = np.mgrid[0:70, 0:90]
    return Image.fromarray(np.stack([2 * x, 3 * y, 255 - x - y], -1).astype(np.uint8))


def test_the_ranking_is_that_of_the_evaluation(finished, tmp_path):
    _, val = open_splits(finished.config)
    paths = []
    for i in range(len(val)):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(np.asarray(val.pixels[val.rows[i]])).save(paths[-1])
    found = predict(finished.folder, paths, top=2)
    assert [one["image"] for one in found] == [str(path) for path in paths]
    hits = [one["top"][0]["class"] == val.classes[label] for one, label in zip(found, val.labels, strict=True)]
    assert 100 * np.mean(hits) == pytest.approx(evaluate(finished.folder)["val_top1"])
    for one in found:
        first, second = (entry["probability"] for entry in one["top"])
        assert 1 >= first >= second >= 0 and first + second <= 1 + 1e-6
        assert one["top"][0]["name"] == val.class_names[val.classes.index(one["top"][0]["class"])]


def test_all_classes_add_up_to_one_in_the_file_and_on_the_screen(finished, picture, tmp_path, capsys):
    picture.save(tmp_path / "photo.jpg")
    words = ["predict", finished.folder, tmp_path / "photo.jpg", "--json", tmp_path / "found.json"]
    assert main([str(word) for word in words]) == 0
    [found] = json.loads((tmp_path / "found.json").read_text())
    assert sum(entry["probability"] for entry in found["top"]) == pytest.approx(1, abs=1e-5)
    out = capsys.readouterr().out
    assert "photo.jpg" in out and found["top"][0]["name"] in out


def test_folders_and_patterns_give_a_table_and_a_picture(finished, picture, tmp_path, capsys):
    (tmp_path / "below").mkdir()
    for number in range(6):
        picture.save(tmp_path / "below" / f"{number}.jpg")
        picture.rotate(9 * number).save(tmp_path / f"{number}.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    words = ["predict", str(finished.folder), str(tmp_path / "below"), str(tmp_path / "*.PNG")]
    assert main([*words, "--picture", str(tmp_path / "found.png")]) == 0
    out = capsys.readouterr().out
    assert [line.split("\t")[0].rpartition(".")[2] for line in out.splitlines()] == 6 * ["jpg"] + 6 * ["PNG"]
    with Image.open(tmp_path / "found.png") as drawn:
        assert drawn.width > 8 * 96 and np.ptp(np.asarray(drawn.convert("L"))) > 100
    for nothing, says in ((tmp_path / "*.gif", "matches no file"), (finished.folder / "checkpoints", "holds no image")):
        assert main(["predict", str(finished.folder), str(nothing)]) == 3
        assert says in capsys.readouterr().err


def test_the_transform_is_shorter_side_first_and_the_centre(picture):
    expected = picture.resize((41, SIZE), Image.Resampling.BILINEAR).crop((4, 0, 4 + SIZE, SIZE))
    assert np.array_equal(decoded(picture), np.asarray(expected))


def decoded(image, name="PNG", **options):
    from io import BytesIO

    file = BytesIO()
    image.save(file, name, **options)
    return decode_photo(file.getvalue(), SIZE)


@pytest.mark.parametrize("mode, name, tolerance", [
    ("RGBA", "PNG", 0), ("P", "PNG", 30), ("CMYK", "TIFF", 1), ("RGB", "BMP", 0), ("RGB", "WEBP", 12),
    ("RGB", "JPEG", 12), ("CMYK", "JPEG", 12), ("RGB", "GIF", 30),
])
def test_modes_and_formats_give_the_same_picture(picture, mode, name, tolerance):
    found = decoded(picture.convert(mode), name).astype(int)
    assert found.shape == (SIZE, SIZE, 3)
    assert np.abs(found - decoded(picture)).max() <= tolerance


def test_gray_pictures_of_8_and_16_bits(picture):
    gray = picture.convert("L")
    found = decoded(gray)
    assert (found[..., 0] == found[..., 1]).all() and found.std() > 10
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    assert np.array_equal(decoded(deep), found)
    assert decoded(gray.convert("LA")).shape == decoded(gray.convert("1")).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_their_exif_says(picture, orientation):
    stored = picture
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # PIL.Image.Transpose, from upright to as stored
    for method in undo.get(orientation, []):
        stored = stored.transpose(Image.Transpose(method))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decoded(stored, exif=exif), decoded(picture))


def test_more_images_than_a_batch(finished, picture, tmp_path, monkeypatch):
    picture.save(tmp_path / "a.png")
    picture.rotate(90).save(tmp_path / "b.png")
    images = [tmp_path / name for name in ("a.png", "b.png", "a.png", "b.png", "a.png")]
    whole = predict(finished.folder, images, top=1)
    monkeypatch.setattr("fasttrain.inference.predict.BATCH", 2)
    for one, other in zip(whole, predict(finished.folder, images, top=1), strict=True):
        assert one["top"][0]["probability"] == pytest.approx(other["top"][0]["probability"], abs=1e-6)


def bad_image(name, folder, picture):
    path = folder / name
    picture.save(folder / "good.png")
    if name == "text.jpg":
        path.write_text("no image")
    elif name == "empty.png":
        path.touch()
    elif name == "cut.png":
        path.write_bytes((folder / "good.png").read_bytes()[:-300])
    elif name == "narrow.png":
        Image.new("L", (1, 70_000)).save(path)
    elif name == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("name, says", [
    ("text.jpg", "not an image"), ("empty.png", "the file is empty"), ("cut.png", "cannot be read as an image"),
    ("gone.png", "No such file"), ("folder", "holds no image"), ("narrow.png", "too narrow"),
])
def test_what_is_no_image_is_named_in_one_line(finished, picture, tmp_path, capsys, name, says):
    path = bad_image(name, tmp_path, picture)
    assert main(["predict", str(finished.folder), str(tmp_path / "good.png"), str(path)]) == 3
    out, err = capsys.readouterr()
    assert out == "" and says in err and str(path) in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("words, says", [
    (["--top", "0"], "--top"), (["--device", "gpu"], "--device"), (["--json", "/nowhere/x"], "/nowhere/x"),
])
def test_bad_flags(capsys, words, says):
    assert main(["predict", "run", "image.png", *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(finished):
    with pytest.raises(ConfigError, match="no usable GPU"):
        predict(finished.folder, ["image.png"], device="cuda")
