"""One suite that every loader passes: the same (seed, epoch) gives the same bytes, whoever delivers them."""

import itertools

import numpy as np
import pytest

from fasttrain import keyed
from fasttrain.config import Augment
from tests.contract.common import assert_batches, assert_images, collect, copy, reference
from tests.helpers import make_split

AUGMENT = Augment(crop_padding=2, flip="alternating", cutout=3)
AUGMENTS = [AUGMENT, Augment(), Augment(crop_padding=20, flip="random"), Augment(cutout=40),
            Augment(rrc_scale=0.3, flip="random", cutout=3), Augment(contrast=0.6),
            Augment(crop_padding=2, flip="random", brightness=0.4, contrast=0.3, cutout=3)]


@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
@pytest.mark.parametrize("drop_last", [True, False])
def test_training_delivers_the_keyed_order_and_augmentation(make, augment, drop_last):
    split = make_split(23)
    loader = make(split, 5, seed=9, augment=augment, drop_last=drop_last)
    assert len(loader) == (4 if drop_last else 5)
    for epoch in (0, 3):
        loader.set_epoch(epoch)
        batches = collect(loader)
        assert [b[3] for b in batches] == [5, 5, 5, 5, 3][:len(loader)]
        seen = np.concatenate([b[2] for b in batches])
        np.testing.assert_array_equal(seen, keyed.permutation(9, epoch, 23)[:len(seen)])
        for images, labels, indices, _ in batches:
            assert labels.dtype == indices.dtype == np.int64
            np.testing.assert_array_equal(labels, split.labels[indices])
            assert_images(images, reference(split, indices, 9, epoch, augment), make.tolerance)


def test_batches_lie_on_the_device(make, device):
    for train in (True, False):
        for batch in make(make_split(7), 4, train, augment=AUGMENT):
            assert {tensor.device.type for tensor in batch[:3]} == {device}
            assert batch.images.is_contiguous()


def test_epochs_and_seeds_differ(make):
    split = make_split(23)
    first = next(iter(make(split, 6, augment=AUGMENT)))
    other_seed = next(iter(make(split, 6, augment=AUGMENT, seed=1)))
    loader = make(split, 6, augment=AUGMENT)
    loader.set_epoch(1)
    other_epoch = next(iter(loader))
    for other in (other_seed, other_epoch):
        assert first.indices.tolist() != other.indices.tolist()
        assert not (first.images == other.images).all()


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


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_lead_is_the_sample_before_a_ranks_own(make, world_size):
    """Mixing pairs each sample with the one before it in the global batch, and the first with the last."""
    split = make_split(23)
    whole = collect(make(split, 6, augment=AUGMENT))
    for rank in range(world_size):
        parts = collect(make(split, 6, augment=AUGMENT, rank=rank, world_size=world_size, lead=True))
        for part, step in zip(parts, whole, strict=True):
            first, last = (len(step[2]) * r // world_size for r in (rank, rank + 1))
            places = np.arange(first - 1, last) if last > first else []
            for field in range(3):
                np.testing.assert_array_equal(part[field], step[field].take(np.array(places, int), axis=0, mode="wrap"))
            assert part[3] == last - first


def test_a_rank_without_samples_gets_empty_batches(make):
    """A last batch of one image among three ranks."""
    parts = [collect(make(make_split(7), 6, augment=AUGMENT, rank=r, world_size=3))[-1] for r in range(3)]
    assert [p[3] for p in parts] == [len(p[2]) for p in parts] == [0, 0, 1]
    assert {p[0].shape[1:] for p in parts} == {(16, 16, 3)}


@pytest.mark.parametrize("count, world_size", list(itertools.product([1, 4, 6, 7, 23], [1, 2, 3])))
def test_evaluation_shows_every_index_once_in_static_shapes(make, count, world_size):
    split = make_split(count)
    seen, shapes = [], set()
    for rank in range(world_size):
        loader = make(split, 6, train=False, augment=AUGMENT, rank=rank, world_size=world_size)
        for images, labels, indices, valid in collect(loader):
            shapes.add(images.shape)
            seen += indices[:valid].tolist()
            assert_images(images, split.pixels[split.rows[indices]], make.tolerance)
            np.testing.assert_array_equal(labels, split.labels[indices])
    assert sorted(seen) == list(range(count))
    assert shapes == {(6 // world_size, 16, 16, 3)}


@pytest.mark.parametrize("start", [0, 1, 3, 4])
@pytest.mark.parametrize("train", [True, False])
def test_starting_in_the_middle_continues_exactly(make, train, start):
    loader = make(make_split(23), 6, train, augment=AUGMENT)
    loader.set_epoch(2)
    whole = collect(loader)
    loader.set_epoch(2, start)
    assert_batches(collect(loader), whole[start:])
    loader.set_epoch(2, len(loader))
    assert collect(loader) == []


def test_breaking_off_and_iterating_again(make):
    loader = make(make_split(23), 6, augment=AUGMENT)
    whole = collect(loader)
    for taken in (0, 1, 3):
        collect(itertools.islice(loader, taken))
        assert_batches(collect(loader), whole)
    loader.set_epoch(1)
    abandoned = iter(loader)
    next(abandoned)
    loader.set_epoch(0)
    assert_batches(collect(loader), whole)


@pytest.mark.parametrize("augment", [AUGMENT, AUGMENTS[-1], Augment(rrc_scale=0.5)], ids=str)
def test_a_batch_is_never_overwritten_under_its_user(make, augment):
    """Whether it is held whole, or only through a view of some of its images."""
    loader = make(make_split(64), 4, augment=augment)
    whole = collect(loader)
    kept, views = list(loader), [batch.images[1:3] for batch in loader]
    for epoch in (1, 2, 3):
        loader.set_epoch(epoch)
        for batch in loader:
            batch.images.add_(1)  # neither does what a user writes into a batch reach another one
    assert_batches([copy(batch) for batch in kept], whole)
    for view, (images, *_) in zip(views, whole, strict=True):
        np.testing.assert_array_equal(view.cpu().numpy(), images[1:3])


def test_grayscale_has_three_equal_channels(make):
    split = make_split(9)
    gray = [i for i in range(9) if (split.pixels[split.rows[i]] == split.pixels[split.rows[i]][..., :1]).all()]
    assert len(gray) == 3
    (images, _, indices, _), = collect(make(split, 9, train=False))
    for i in indices.tolist():
        assert (images[i] == images[i][..., :1]).all() == (i in gray)


def test_one_image(make):
    for train in (True, False):
        (images, labels, indices, valid), = collect(make(make_split(1, classes=1), 1, train, augment=AUGMENT))
        assert (len(images), labels.tolist(), indices.tolist(), valid) == (1, [0], [0], 1)
