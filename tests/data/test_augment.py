"""Every mirror of the augmentation delivers the reference's bytes."""

import itertools

import numpy as np
import pytest
import torch

from fasttrain import keyed
from fasttrain.config import Augment
from fasttrain.data.augment import Draws, augment_sample, draw_keys, draws
from fasttrain.data.augment.numba_mirror import augment_batch, kernel_arguments
from fasttrain.data.augment.torch_mirror import augment_batch as augment_torch
from fasttrain.data.augment.torch_mirror import draws_on
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.loaders.resident import ResidentLoader
from tests.helpers import make_split

SEED, EPOCH = 5, 3
CONFIGS = [Augment(crop_padding=pad, flip=flip, cutout=cut)
           for pad, flip, cut in itertools.product((0, 4, 20), ("none", "random", "alternating"), (0, 7))]


@pytest.fixture(scope="module")
def pixels():
    return keyed.mix(np.arange(40 * 16 * 16 * 3, dtype=np.uint64)).astype(np.uint8).reshape(40, 16, 16, 3)


def reference(pixels, rows, indices, augment):
    drawn = draws(augment, draw_keys(augment, SEED, EPOCH), indices, pixels.shape[1])
    return np.stack([augment_sample(pixels[row], one, augment) for row, one in zip(rows, zip(*drawn, strict=True),
                                                                                  strict=True)])


@pytest.mark.parametrize("augment", CONFIGS, ids=str)
def test_mirrors_equal_the_reference(pixels, augment):
    indices = keyed.permutation(0, 0, 64)
    rows = indices % len(pixels)
    expected = reference(pixels, rows, indices, augment)
    out = np.full_like(expected, 77)  # every byte has to be written
    augment_batch(out, pixels, rows, indices, kernel_arguments(augment, SEED, EPOCH))
    np.testing.assert_array_equal(out, expected)
    drawn = draws_on(augment, draw_keys(augment, SEED, EPOCH), torch.from_numpy(indices), pixels.shape[1])
    in_torch = augment_torch(torch.from_numpy(pixels), torch.from_numpy(rows), drawn, augment)
    np.testing.assert_array_equal(in_torch.numpy(), expected)


def test_crop_and_flip_do_what_they_say():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3) + 1
    moved = augment_sample(image, Draws(1, -1, 0, 0, 0), Augment(crop_padding=1))
    np.testing.assert_array_equal(moved[:3, 1:], image[1:, :3])
    assert not moved[3].any() and not moved[:, 0].any()
    flipped = augment_sample(image, Draws(0, 0, 1, 0, 0), Augment(flip="random"))
    np.testing.assert_array_equal(flipped, image[:, ::-1])
    cut = augment_sample(image, Draws(0, 0, 0, -1, 2), Augment(cutout=2))
    assert not cut[0, 2:].any() and cut[1:].all() and cut[0, :2].all()


def test_alternating_flip_turns_every_image_each_epoch():
    augment, indices = Augment(flip="alternating"), np.arange(1000)
    flips = [draws(augment, draw_keys(augment, SEED, epoch), indices, 64).flip for epoch in range(3)]
    assert ((flips[0] + flips[1]) == 1).all() and (flips[0] == flips[2]).all()
    assert 400 < flips[0].sum() < 600


def test_random_flip_is_drawn_anew_each_epoch():
    augment, indices = Augment(flip="random"), np.arange(1000)
    flips = [draws(augment, draw_keys(augment, SEED, epoch), indices, 64).flip for epoch in range(2)]
    assert 400 < (flips[0] == flips[1]).sum() < 600


@pytest.mark.parametrize("augment", [Augment(), Augment(crop_padding=4, flip="alternating", cutout=5)], ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_what_the_resident_loader_does_on_a_gpu_equals_what_it_does_on_a_cpu(augment, train):
    """Its GPU path on CPU tensors, uncompiled."""
    split = make_split(43)
    loader = ResidentLoader(LoaderSpec(split, 10, train, seed=SEED, augment=augment))
    loader.pixels = torch.from_numpy(split.pixels[split.rows])
    loader.labels, loader.gather = torch.from_numpy(split.labels), augment_torch
    for epoch in (0, EPOCH):
        order = loader.plan.order(epoch)
        steps = [loader.plan.step(order, step) for step in range(len(loader))]
        for one, other in zip(loader.load_gpu(epoch, steps), loader.load_cpu(epoch, steps), strict=True):
            assert one.valid == other.valid
            for a, b in zip(one[:3], other[:3], strict=True):
                assert torch.equal(a, b)
