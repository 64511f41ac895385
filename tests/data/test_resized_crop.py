"""Random resized crop: every mirror delivers the reference's bytes, and the reference is a bilinear resize."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fasttrain import keyed
from fasttrain.config import Augment
from fasttrain.data.augment import augment_sample, draw_keys, draws
from fasttrain.data.augment.numba_mirror import kernel_arguments
from fasttrain.data.augment.resized_crop import crop_boxes, crop_sizes, resized_crop_sample
from fasttrain.data.augment.resized_crop_numba import resized_crop_batch as in_numba
from fasttrain.data.augment.torch_mirror import keys_on
from fasttrain.data.augment.torch_mirror import resized_crop_batch as in_torch
from fasttrain.errors import ConfigError

SEED, EPOCH = 5, 3


def noise(count, size):
    return keyed.mix(np.arange(count * size * size * 3, dtype=np.uint64)).astype(np.uint8).reshape(count, size, size, 3)


def reference(images, indices, augment):
    size, keys = images.shape[1], draw_keys(augment, SEED, EPOCH)
    boxes = zip(*crop_boxes(keys, crop_sizes(augment.rrc_scale, size), indices, size), strict=True)
    drawn = zip(*draws(augment, keys, indices, size), strict=True)
    return np.stack([augment_sample(resized_crop_sample(*sample), one, augment)
                     for sample, one in zip(zip(images, boxes, strict=True), drawn, strict=True)])


@pytest.mark.parametrize("size", [1, 7, 16, 33, 64])
@pytest.mark.parametrize("scale", [0.08, 0.5, 1.0])
@pytest.mark.parametrize("flip, cutout", [("none", 0), ("alternating", 3)])
def test_mirrors_equal_the_reference(size, scale, flip, cutout):
    augment = Augment(rrc_scale=scale, flip=flip, cutout=cutout)
    images, indices, sizes = noise(24, size), keyed.permutation(0, 0, 24), crop_sizes(scale, size)
    expected, keys = reference(images, indices, augment), draw_keys(augment, SEED, EPOCH)
    out = np.full_like(images, 77)  # every byte has to be written
    in_numba(out, images, indices, sizes, kernel_arguments(augment, SEED, EPOCH))
    np.testing.assert_array_equal(out, expected)
    tensors = [torch.from_numpy(array) for array in (images, indices, sizes)]
    for numbers in (keys, keys_on("cpu", keys)):
        np.testing.assert_array_equal(in_torch(*tensors, augment, numbers).numpy(), expected)


def test_the_largest_image_and_the_brightest_bytes_do_not_overflow():
    images, indices = np.full((1, 512, 512, 3), 255, np.uint8), np.array([4])
    augment = Augment(rrc_scale=0.3)
    out = np.empty_like(images)
    in_numba(out, images, indices, crop_sizes(0.3, 512), kernel_arguments(augment, SEED, EPOCH))
    assert (out == 255).all()
    tensors = [torch.from_numpy(array) for array in (images, indices, crop_sizes(0.3, 512))]
    assert (in_torch(*tensors, augment, draw_keys(augment, SEED, EPOCH)) == 255).all()


def test_the_reference_is_a_bilinear_resize():
    for image, box in zip(noise(20, 32), np.random.default_rng(0).integers((0, 0, 1, 1), (8, 8, 25, 25), (20, 4)),
                          strict=True):
        y, x, height, width = box
        crop = torch.from_numpy(image[y:y + height, x:x + width]).permute(2, 0, 1)[None].double()
        exact = F.interpolate(crop, (32, 32), mode="bilinear")[0].permute(1, 2, 0).numpy()
        assert np.abs(resized_crop_sample(image, box) - exact).max() <= 0.5 + 1e-6


def test_crops_stay_inside_and_have_the_areas_and_ratios_asked_for():
    indices, size = np.arange(20_000), 64
    sizes = crop_sizes(0.25, size)
    y, x, height, width = crop_boxes(draw_keys(Augment(rrc_scale=0.25), SEED, EPOCH), sizes, indices, size)
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
