"""Random resized crop: the definition is a bilinear resize of boxes of the areas and ratios asked for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fasttrain import keyed
from fasttrain.config import Augment
from fasttrain.data.augment.resized_crop import ResizedCrop
from fasttrain.errors import ConfigError

SEED, EPOCH = 5, 3


def noise(count, size):
    return keyed.mix(np.arange(count * size * size * 3, dtype=np.uint64)).astype(np.uint8).reshape(count, size, size, 3)


def make(scale, size):
    return ResizedCrop(Augment(rrc_scale=scale), size)


def draws(part, indices):
    return part.draws(part.keys(SEED, EPOCH), indices)


@pytest.mark.parametrize("size", [33, 64])
@pytest.mark.parametrize("scale", [0.08, 0.5, 1.0])
def test_mirrors_equal_the_definition(size, scale):
    part, images = make(scale, size), noise(24, size)
    boxes = draws(part, keyed.permutation(0, 0, 24))
    expected = np.stack([part.sample(image, *map(int, box)) for image, *box in zip(images, *boxes, strict=True)])
    out = images.copy()
    part.in_numba(out, *boxes)
    np.testing.assert_array_equal(out, expected)
    in_torch = part.in_torch(torch.from_numpy(images), *(torch.from_numpy(side) for side in boxes))
    np.testing.assert_array_equal(in_torch, expected)


def test_the_largest_image_and_the_brightest_bytes_do_not_overflow():
    images, part = np.full((1, 512, 512, 3), 255, np.uint8), make(0.3, 512)
    box = draws(part, np.array([4]))
    assert (part.in_torch(torch.from_numpy(images), *map(torch.from_numpy, box)) == 255).all()
    part.in_numba(images, *box)
    assert (images == 255).all()


def test_the_definition_is_a_bilinear_resize():
    for image, box in zip(noise(20, 32), np.random.default_rng(0).integers((0, 0, 1, 1), (8, 8, 25, 25), (20, 4)),
                          strict=True):
        y, x, height, width = box
        crop = torch.from_numpy(image[y:y + height, x:x + width]).permute(2, 0, 1)[None].double()
        exact = F.interpolate(crop, (32, 32), mode="bilinear")[0].permute(1, 2, 0).numpy()
        assert np.abs(make(0.3, 32).sample(image, y, x, height, width) - exact).max() <= 0.5 + 1e-6


def test_crops_stay_inside_and_have_the_areas_and_ratios_asked_for():
    indices, size = np.arange(20_000), 64
    y, x, height, width = draws(make(0.25, size), indices)
    assert min(y.min(), x.min()) == 0 and (y + height).max() == (x + width).max() == size
    area, ratio = height * width / size**2, width / height
    assert 0.24 < area.min() < 0.26 and area.max() > 0.97
    assert 0.73 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.37  # sides are whole pixels
    assert 0.58 < area.mean() < 0.63  # 0.625, less what is cut off where a side would leave the image
    assert len(np.unique(np.stack([y, x, height, width]), axis=1).T) > 10_000


def test_a_second_kind_of_crop_is_refused():
    with pytest.raises(ConfigError, match="crop_padding=0"):
        Augment(rrc_scale=0.3, crop_padding=4)
    with pytest.raises(ConfigError, match="rrc_scale"):
        Augment(rrc_scale=1.5)
