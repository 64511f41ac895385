"""The hash and its mirrors: one definition, bit-equal everywhere."""

import numba
import numpy as np
import pytest
import torch

from fasttrain import keyed
from fasttrain.keyed import numba_mirror, torch_mirror

EDGES = np.array([0, 1, 2, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], np.uint64)


def some_integers():
    return np.concatenate([EDGES, keyed.mix(np.arange(10_000, dtype=np.uint64))])


def test_known_values():
    # from the C reference of lowbias32: x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16
    def reference(x):
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = (x ^ x >> shift) * factor % 2**32
        return x ^ x >> 16

    values = some_integers()
    assert keyed.mix(values).tolist() == [reference(int(v)) for v in values]
    assert keyed.mix(1) == reference(1)


def test_mix_is_a_bijection_on_a_sample():
    values = np.arange(1 << 20, dtype=np.uint64)
    assert len(np.unique(keyed.mix(values))) == len(values)


@pytest.mark.parametrize("bound", [1, 2, 9, 64, 200, 100_000])
def test_torch_and_numba_mirrors_agree(bound):
    values = some_integers()
    expected = keyed.draw(keyed.key(7, 3, 11), values, bound)
    assert expected.min() >= 0 and expected.max() < bound

    drawn = torch_mirror.draw(keyed.key(7, 3, 11), torch.from_numpy(values.astype(np.int64)), bound)
    assert drawn.tolist() == expected.tolist()

    @numba.njit
    def all_of(stream_key, indices, out):
        for i in range(len(indices)):
            out[i] = numba_mirror.draw(stream_key, indices[i], bound)

    out = np.zeros(len(values), np.int64)
    all_of(keyed.key(7, 3, 11), values.astype(np.int64), out)
    assert out.tolist() == expected.tolist()


def test_draws_are_uniform():
    counts = np.bincount(keyed.draw(keyed.key(0, keyed.CROP_X, 0), np.arange(90_000), 9), minlength=9)
    chi_squared = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_squared < 26.1  # the 99.9 % point with 8 degrees of freedom


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_permutation_holds_every_index_once(count):
    assert sorted(keyed.permutation(3, 5, count)) == list(range(count))


def test_permutations_differ_by_seed_and_epoch_and_repeat():
    orders = [tuple(keyed.permutation(seed, epoch, 50)) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16
    assert orders[5] == tuple(keyed.permutation(1, 1, 50))


def test_key_depends_on_the_order_of_its_parts():
    assert keyed.key(0, 1, 2) != keyed.key(0, 2, 1)
    keys = {keyed.key(seed, stream, epoch) for seed in range(9) for stream in range(8) for epoch in range(30)}
    assert len(keys) == 9 * 8 * 30
