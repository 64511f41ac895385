"""Photos stored large: crops are cut from the photo, keyed, and within one gray level of Pillow's."""

import numpy as np
import pytest
from PIL import Image

from fasttrain import RunConfig
from fasttrain.config import Augment
from fasttrain.data import loaders
from fasttrain.data.augment import flip, photo_crop
from fasttrain.data.augment.photo_crop_numba import crop_photos
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.pack import open_splits
from fasttrain.errors import ConfigError

AUGMENT = Augment(rrc_scale=0.25, flip="random")
SIZES = [(80, 60), (60, 80), (200, 50), (30, 20), (64, 64), (90, 41)]  # width, height


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTTRAIN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, (width, height) in enumerate(SIZES):
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def splits(folder, said=None, side=40):
    config = RunConfig(data=str(folder), val_fraction=0.2, image_size=32, photo_side=side,
                       augment={"rrc_scale": 0.25, "crop_padding": 0})
    return open_splits(config, on_message=[].append if said is None else said.append)


def load(split, workers, epoch=0, start=0):
    loader = loaders.build("resident", LoaderSpec(split, 3, True, seed=5, augment=AUGMENT, threads=workers))
    loader.set_epoch(epoch, start)
    return [(batch.images.numpy(), batch.indices.numpy()) for batch in loader]


def stored(split, index):
    row = split.rows[index]
    height, width = split.photos.shapes[row]
    start = split.photos.offsets[row]
    return split.photos.data[start:start + 3 * height * width].reshape(height, width, 3)


@pytest.mark.parametrize("shape, box, size", [
    ((375, 500), (10, 20, 300, 400), 128), ((375, 500), (0, 0, 375, 500), 224), ((60, 80), (3, 5, 20, 31), 64),
    ((40, 40), (0, 0, 32, 32), 32), ((9, 300), (1, 0, 1, 299), 32), ((99, 52), (0, 0, 99, 52), 64)])
def test_the_kernel_equals_the_definition_and_pillow_is_within_a_gray_level(shape, box, size):
    photo = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    out = np.empty((1, size, size, 3), np.uint8)
    crop_photos(out, photo.reshape(-1), np.array([0]), np.array([shape[1]]), np.array([box]))
    defined = photo_crop.crop_photo(photo, *box, size)
    np.testing.assert_array_equal(out[0], defined)
    y, x, height, width = box
    pillows = Image.fromarray(photo[y:y + height, x:x + width]).resize((size, size), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(pillows).astype(int) - defined).max() <= 1


def torchvisions(count, height, width, scale):
    """Heights and widths as the loop of torchvision's RandomResizedCrop draws them; nearly all fit within ten tries."""
    rng = np.random.default_rng(0)
    while count:
        area, ratio = height * width * rng.uniform(scale, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if w <= width and h <= height:
            count -= 1
            yield h, w


def test_boxes_lie_inside_and_are_spread_as_torchvisions():
    shapes = np.tile([[375, 500]], (20_000, 1))
    boxes = photo_crop.draw_boxes(0, 0, np.arange(20_000), shapes, 0.25)
    assert (boxes >= [0, 0, 1, 1]).all() and (boxes[:, :2] + boxes[:, 2:] <= shapes).all()
    share, ratio = boxes[:, 2:].prod(1) / (375 * 500), boxes[:, 3] / boxes[:, 2]
    theirs = np.array(list(torchvisions(20_000, 375, 500, 0.25)))
    wanted = theirs.prod(1) / (375 * 500), theirs[:, 1] / theirs[:, 0]
    for ours, other in zip((share, ratio), wanted, strict=True):
        np.testing.assert_allclose(np.quantile(ours, [0, 0.25, 0.5, 0.75, 1]),
                                   np.quantile(other, [0, 0.25, 0.5, 0.75, 1]), atol=0.02)
    narrow = photo_crop.draw_boxes(0, 0, np.arange(50), np.tile([[10, 400]], (50, 1)), 0.9)
    np.testing.assert_array_equal(narrow, np.tile([[0, 193, 10, 13]], (50, 1)))  # none fits: the middle


def test_batches_are_crops_of_the_photos_whatever_the_threads(folder):
    split, _ = splits(folder)
    for (images, indices), (again, _) in zip(load(split, 1, epoch=2), load(split, 3, epoch=2), strict=True):
        np.testing.assert_array_equal(images, again)
        shapes = split.photos.shapes[split.rows[indices]]
        boxes = photo_crop.draw_boxes(5, 2, indices, shapes, 0.25)
        part = flip.Flip(AUGMENT, 32)
        (flips,) = part.draws(part.keys(5, 2), indices)[:1]
        for image, index, box, flipped in zip(images, indices, boxes, flips, strict=True):
            crop = photo_crop.crop_photo(stored(split, index), *box, 32)
            np.testing.assert_array_equal(image, crop[:, ::-1] if flipped else crop)
    np.testing.assert_array_equal(load(split, 2, epoch=2, start=1)[0][0], load(split, 2, epoch=2)[1][0])


def test_photos_are_stored_once_and_small_ones_as_they_are(folder):
    said = []
    split, val = splits(folder, said)
    assert val.photos is None and split.photos.shapes.min(1).max() == 40
    assert sorted(map(tuple, split.photos.shapes.tolist()))[:2] == [(20, 30), (20, 30)]
    small = int((split.photos.shapes[split.rows].min(1) < 32).sum())
    assert [line for line in said if line.startswith("warning")] == [
        f"warning: {small} of {len(split)} training photos have a side below 32 px: every crop of them is enlarged"]
    assert sum("storing photos" in line for line in said) == 1
    said.clear()
    splits(folder, said)
    assert not any("storing photos" in line for line in said)


def test_what_cannot_cut_photos_says_so_in_one_line(folder):
    split, _ = splits(folder)
    spec = LoaderSpec(split, 3, True, augment=AUGMENT)
    assert loaders.choose("auto", spec)[0] == "resident"
    for name in ("jpeg", "torch", "constant"):
        with pytest.raises(ConfigError, match="--loader resident only"):
            loaders.build(name, spec)
    with pytest.raises(ConfigError, match="rrc_scale"):
        RunConfig(photo_side=256)
    with pytest.raises(ConfigError, match="below --image-size"):
        RunConfig(photo_side=32, augment={"rrc_scale": 0.25, "crop_padding": 0})
