"""Augmentation: each does what it says, its mirrors deliver the bytes of its definition, and so do the fused passes."""

import numpy as np
import pytest
import torch

from fasttrain import keyed
from fasttrain.config import Augment
from fasttrain.data.augment import only, switched_on
from fasttrain.data.augment.colour import Colour
from fasttrain.data.augment.crop import Crop
from fasttrain.data.augment.cutout import Cutout
from fasttrain.data.augment.flip import Flip
from fasttrain.data.augment.fused import Draws, fused_draws, fused_keys
from fasttrain.data.augment.fused_numba import augment_batch, kernel_arguments
from fasttrain.data.augment.fused_torch import gather_batch
from fasttrain.data.augment.kernels import torch_kernel
from fasttrain.data.augment.rest import Rest
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.loaders.resident import ResidentLoader
from fasttrain.keyed import torch_mirror
from fasttrain.registry import AUGMENTATIONS
from tests.contract.common import augmented
from tests.helpers import make_split

SEED, EPOCH = 5, 3
FUSABLE = [Augment(crop_padding=pad, flip=flip, cutout=cut)
           for pad in (0, 4, 20) for flip in ("none", "random", "alternating") for cut in (0, 7)]
SINGLE = [Augment(crop_padding=4), Augment(crop_padding=20), Augment(flip="random"), Augment(flip="alternating"),
          Augment(brightness=0.4), Augment(contrast=0.7), Augment(brightness=1, contrast=1), Augment(cutout=5),
          Augment(cutout=40), Augment(rrc_scale=0.3)]
CHAINS = [Augment(crop_padding=3, flip="random", brightness=0.3, contrast=0.3, cutout=5),
          Augment(rrc_scale=0.3, flip="alternating", contrast=0.5, cutout=3)]


def noise(count, size):
    return keyed.mix(np.arange(count * size * size * 3, dtype=np.uint64)).astype(np.uint8).reshape(count, size, size, 3)


def kind(name):
    return f"{name}".removeprefix("Augment")


def drawn_by(part, indices, draw=keyed.draw):
    return part.draws(part.keys(SEED, EPOCH), indices, draw)


def test_the_order_is_part_of_the_definition():
    everything = Augment(crop_padding=1, flip="random", brightness=0.1, cutout=3)
    assert list(switched_on(everything, 16)) == ["crop", "flip", "colour", "cutout"]
    assert AUGMENTATIONS.names() == ["crop", "resized_crop", "flip", "colour", "cutout"]
    assert switched_on(Augment(), 16) == {}
    assert only(everything, [Flip(everything, 16), Cutout(everything, 16)]) == Augment(flip="random", cutout=3)


@pytest.mark.parametrize("size", [1, 7, 16])
@pytest.mark.parametrize("augment", SINGLE + CHAINS, ids=kind)
def test_mirrors_equal_the_definition(size, augment):
    images, indices = noise(40, size), keyed.permutation(0, 0, 40)
    expected = augmented(images, indices, SEED, EPOCH, augment)
    parts = list(switched_on(augment, size).values())
    rest = Rest(parts, SEED, "cpu")
    in_numba = rest.in_numba(torch.from_numpy(images.copy()), rest.draws(EPOCH, [(indices, 40)])[0])
    np.testing.assert_array_equal(in_numba, expected)
    drawn = [tuple(one.int() for one in drawn_by(part, torch.from_numpy(indices), torch_mirror.draw)) for part in parts]
    np.testing.assert_array_equal(rest.chain(torch.from_numpy(images), drawn), expected)


@pytest.mark.parametrize("augment", CHAINS, ids=kind)
def test_mirrors_compile_to_the_same(augment):
    images, indices = noise(8, 16), torch.arange(8)
    rest = Rest(list(switched_on(augment, 16).values()), SEED, "cpu")
    drawn = [tuple(one.int() for one in drawn_by(part, indices, torch_mirror.draw)) for part in rest.parts]
    compiled = torch.compile(rest.chain, fullgraph=True, backend="aot_eager")
    np.testing.assert_array_equal(compiled(torch.from_numpy(images), drawn),
                                  augmented(images, indices.numpy(), SEED, EPOCH, augment))


@pytest.mark.parametrize("augment", FUSABLE, ids=kind)
def test_the_fused_passes_equal_the_definition(augment):
    pixels, indices = noise(40, 16), keyed.permutation(0, 0, 64)
    rows = indices % len(pixels)
    expected = augmented(pixels[rows], indices, SEED, EPOCH, augment)
    out = np.full_like(expected, 77)  # every byte has to be written
    augment_batch(out, pixels, rows, indices, *kernel_arguments(augment, SEED, EPOCH))
    np.testing.assert_array_equal(out, expected)
    drawn = fused_draws(augment, fused_keys(augment, SEED, EPOCH), torch.from_numpy(indices), 16, torch_mirror.draw)
    in_torch = gather_batch(torch.from_numpy(pixels), torch.from_numpy(rows), Draws(*(d.int() for d in drawn)), augment)
    np.testing.assert_array_equal(in_torch, expected)


def test_crop_flip_and_cutout_do_what_they_say():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3) + 1
    moved = Crop(Augment(crop_padding=1), 4).sample(image, 1, -1)
    np.testing.assert_array_equal(moved[:3, 1:], image[1:, :3])
    assert not moved[3].any() and not moved[:, 0].any()
    np.testing.assert_array_equal(Flip(Augment(flip="random"), 4).sample(image, 1), image[:, ::-1])
    cut = Cutout(Augment(cutout=2), 4).sample(image, -1, 2)
    assert not cut[0, 2:].any() and cut[1:].all() and cut[0, :2].all()


def test_colour_is_brightness_and_then_contrast_around_the_mean():
    image, colour = noise(1, 16)[0], Colour(Augment(brightness=1, contrast=1), 16)
    np.testing.assert_array_equal(colour.sample(image, 0, 0), image)
    np.testing.assert_array_equal(colour.sample(image, -256, 0), np.zeros_like(image))
    for brightness, contrast in ((77, 0), (0, -120), (-50, 200), (256, 256)):
        exact = np.minimum(image * (1 + brightness / 256), 255)
        exact = np.clip((exact - exact.mean()) * (1 + contrast / 256) + exact.mean(), 0, 255)
        # a gray level for each of the two roundings and the whole-numbered mean, stretched at most twice
        assert np.abs(colour.sample(image, brightness, contrast) - exact).max() <= 0.5 * 2 + 0.5 + 0.5
    flat = colour.sample(image, 0, -256)
    assert (flat == flat[0, 0, 0]).all() and abs(int(flat[0, 0, 0]) - image.mean()) <= 0.5


def test_colour_is_drawn_evenly_within_its_settings():
    colour = Colour(Augment(brightness=0.25, contrast=0.5), 16)
    brightness, contrast = drawn_by(colour, np.arange(20_000))
    assert (brightness.min(), brightness.max(), contrast.min(), contrast.max()) == (-64, 64, -128, 128)
    assert abs(brightness.mean()) < 2 and abs(contrast.mean()) < 3
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.03


def flips(mode, epoch):
    flip = Flip(Augment(flip=mode), 16)
    return flip.draws(flip.keys(SEED, epoch), np.arange(1000))[0]


def test_alternating_flip_turns_every_image_each_epoch():
    first, second, third = (flips("alternating", epoch) for epoch in range(3))
    assert ((first + second) == 1).all() and (first == third).all()
    assert 400 < first.sum() < 600


def test_random_flip_is_drawn_anew_each_epoch():
    assert 400 < (flips("random", 0) == flips("random", 1)).sum() < 600


@pytest.mark.parametrize("augment", [Augment(), Augment(crop_padding=4, flip="alternating", cutout=5)], ids=kind)
@pytest.mark.parametrize("train", [True, False])
def test_what_the_resident_loader_does_on_a_gpu_equals_what_it_does_on_a_cpu(augment, train):
    """Its GPU path on CPU tensors, uncompiled."""
    split = make_split(43)
    loader = ResidentLoader(LoaderSpec(split, 10, train, seed=SEED, augment=augment))
    loader.pixels = torch.from_numpy(split.pixels[split.rows])
    loader.labels, loader.gather = torch.from_numpy(split.labels), gather_batch
    for epoch in (0, EPOCH):
        order = loader.plan.order(epoch)
        steps = [loader.plan.step(order, step) for step in range(len(loader))]
        for one, other in zip(loader.load_gpu(epoch, steps), loader.load_cpu(epoch, steps), strict=True):
            assert one.valid == other.valid
            for a, b in zip(one[:3], other[:3], strict=True):
                assert torch.equal(a, b)


def test_a_kernel_that_does_not_compile_runs_as_it_is(monkeypatch):
    def broken(function, **_):
        def call(*_):
            raise RuntimeError("no toolchain")
        return call

    monkeypatch.setattr(torch, "compile", broken)
    kernel = torch_kernel(lambda x: x + 1)
    assert kernel(torch.tensor(1)) == kernel(torch.tensor(1)) == 2
