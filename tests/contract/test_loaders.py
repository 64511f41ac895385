"""One suite that every loader passes: the same (seed, epoch) gives the same bytes, whoever delivers them."""

import itertools

import numpy as np
import pytest

from fasttrain import keyed
from fasttrain.config import Augment
from fasttrain.data import loaders
from fasttrain.data.augment import augment_sample, draw_keys, draws
from fasttrain.data.batch import LoaderSpec
from fasttrain.registry import LOADERS
from tests.helpers import make_split

AUGMENT = Augment(crop_padding=2, flip="alternating", cutout=3)


@pytest.fixture(params=LOADERS.names())
def make(request):
    """Builds the loader under test and closes it afterwards."""
    made = []

    def build(split, batch_size, train=True, **options):
        made.append(loaders.build(request.param, LoaderSpec(split, batch_size, train, **options)))
        return made[-1]

    yield build
    for loader in made:
        loader.close()


def collect(loader):
    """Copies of an iteration's batches as numpy: (images, labels, indices, valid)."""
    return [(b.images.cpu().numpy().copy(), b.labels.cpu().numpy().copy(), b.indices.cpu().numpy().copy(), b.valid)
            for b in loader]


def reference(split, indices, seed, epoch, augment):
    drawn = zip(*draws(augment, draw_keys(augment, seed, epoch), indices, split.image_size), strict=True)
    return np.stack([augment_sample(split.pixels[split.rows[i]], one, augment)
                     for i, one in zip(indices, drawn, strict=True)])


def assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("drop_last", [True, False])
def test_training_delivers_the_keyed_order_and_augmentation(make, drop_last):
    split = make_split(23)
    loader = make(split, 5, seed=9, augment=AUGMENT, drop_last=drop_last)
    assert len(loader) == (4 if drop_last else 5)
    for epoch in (0, 3):
        loader.set_epoch(epoch)
        batches = collect(loader)
        assert [b[3] for b in batches] == [5, 5, 5, 5, 3][:len(loader)]
        seen = np.concatenate([b[2] for b in batches])
        np.testing.assert_array_equal(seen, keyed.permutation(9, epoch, 23)[:len(seen)])
        for images, labels, indices, _ in batches:
            assert images.dtype == np.uint8 and labels.dtype == indices.dtype == np.int64
            np.testing.assert_array_equal(labels, split.labels[indices])
            np.testing.assert_array_equal(images, reference(split, indices, 9, epoch, AUGMENT))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_share_each_global_batch(make, world_size, drop_last):
    split = make_split(23)
    whole = collect(make(split, 6, augment=AUGMENT, drop_last=drop_last))
    ranks = [collect(make(split, 6, augment=AUGMENT, drop_last=drop_last, rank=r, world_size=world_size))
             for r in range(world_size)]
    assert {len(r) for r in ranks} == {len(whole)}
    for step, (images, labels, indices, _) in enumerate(whole):
        parts = [r[step] for r in ranks]
        for field, expected in enumerate((images, labels, indices)):
            np.testing.assert_array_equal(np.concatenate([p[field] for p in parts]), expected)
        if len(indices) == 6:
            assert {len(p[2]) for p in parts} == {6 // world_size}


@pytest.mark.parametrize("count, world_size", list(itertools.product([1, 4, 6, 7, 23], [1, 2, 3])))
def test_evaluation_shows_every_index_once_in_static_shapes(make, count, world_size):
    split = make_split(count)
    seen, shapes = [], set()
    for rank in range(world_size):
        for images, labels, indices, valid in collect(make(split, 6, train=False, rank=rank, world_size=world_size)):
            shapes.add(images.shape)
            seen += indices[:valid].tolist()
            np.testing.assert_array_equal(images, split.pixels[split.rows[indices]])
            np.testing.assert_array_equal(labels, split.labels[indices])
    assert sorted(seen) == list(range(count))
    assert shapes == {(6 // world_size, 8, 8, 3)}


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_starting_in_the_middle_continues_exactly(make, start):
    loader = make(make_split(23), 6, augment=AUGMENT)
    loader.set_epoch(2)
    whole = collect(loader)
    loader.set_epoch(2, start)
    assert_equal(collect(loader), whole[start:])


def test_breaking_off_and_iterating_again(make):
    loader = make(make_split(23), 6, augment=AUGMENT)
    whole = collect(loader)
    for _ in range(3):
        next(iter(loader))
    assert_equal(collect(loader), whole)


def test_a_batch_is_never_overwritten_under_its_user(make):
    loader = make(make_split(23), 6, augment=AUGMENT)
    kept = list(loader)
    copies = collect(loader)
    assert_equal([tuple(t.cpu().numpy() for t in batch[:3]) + (batch.valid,) for batch in kept], copies)


def test_one_image_and_close_twice(make):
    loader = make(make_split(1, classes=1), 1, augment=AUGMENT)
    assert len(collect(loader)) == 1
    loader.close()
    loader.close()
