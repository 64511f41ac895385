"""A new augmentation, loader or source is one file and one line of the registry: toys that are added that way work."""

import numpy as np
import pytest

from fasttrain.config import Augment, RunConfig
from fasttrain.data.augment import switched_on
from fasttrain.data.pack import open_splits
from fasttrain.registry import AUGMENTATIONS, LOADERS, SOURCES
from tests.contract.common import assert_images, collect, reference
from tests.contract.conftest import Make
from tests.helpers import make_split

EVERYTHING = Augment(crop_padding=2, flip="alternating", brightness=0.3, contrast=0.3, cutout=3)
TOYS = {"scramble": "tests.toys.augmentation:Scramble"}


def expect_reference(make, augment):
    split = make_split(23)
    loader = make(split, 5, seed=9, augment=augment)
    loader.set_epoch(3)
    for images, _, indices, _ in collect(loader):
        assert_images(images, reference(split, indices, 9, 3, augment), make.tolerance)


@pytest.mark.parametrize("place", [0, 2, 3, 5])
def test_a_new_augmentation_works_under_every_loader_wherever_it_stands(make, monkeypatch, place):
    """At the front, in the middle of those that loaders do themselves, or at the end."""
    names = list(AUGMENTATIONS.entries.items())
    monkeypatch.setattr(AUGMENTATIONS, "entries", dict([*names[:place], *TOYS.items(), *names[place:]]))
    assert "scramble" in switched_on(EVERYTHING, 16)
    if make.name == "constant":
        split = make_split(23)
        images, _, indices, _ = collect(make(split, 5, seed=9, augment=EVERYTHING))[0]
        assert_images(images, reference(split, indices, 9, 0, EVERYTHING), make.tolerance)
    elif make.tolerance:
        pytest.skip("a GPU's JPEG decoder rounds differently, and a scrambled byte may then be any other")
    else:
        expect_reference(make, EVERYTHING)


@pytest.mark.parametrize("augment", [EVERYTHING, Augment(rrc_scale=0.3, flip="random", cutout=3), Augment()], ids=str)
def test_a_new_loader_augments_without_doing_anything_for_it(monkeypatch, device, augment):
    monkeypatch.setitem(LOADERS.entries, "plain", "tests.toys.loader:PlainLoader")
    assert RunConfig(loader="plain").loader == "plain"
    make = Make("plain", device)
    expect_reference(make, augment)
    make.close()


def test_a_new_source_is_found_and_packed(monkeypatch):
    monkeypatch.setitem(SOURCES.entries, "plain", "tests.toys.source:PlainSource")
    train, val = open_splits(RunConfig(data="plain:3", image_size=32))
    assert (len(train), len(val), train.class_names) == (6, 6, ["black", "white"])
    np.testing.assert_array_equal(train.pixels[:, 0, 0, 0], [0, 0, 0, 255, 255, 255])
