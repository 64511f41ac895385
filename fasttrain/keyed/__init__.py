"""A batch is a pure function: the order of samples and every augmentation are hashes of (seed, epoch, index).

Nothing random lives in a worker, a thread or a library, so every loader delivers the same samples with the same
crops, and a run is resumed from three integers. This file is the definition, in numpy; `torch_mirror.py` and
`numba_mirror.py` mirror it and a test holds them equal.

Hash: lowbias32 (C. Wellons, https://nullprogram.com/blog/2018/07/31/), a bijection of 32-bit integers.
"""

from typing import Any

import numpy as np

MASK = 0xFFFFFFFF
MULTIPLIER_1 = 0x7FEB352D
MULTIPLIER_2 = 0x846CA68B
GOLDEN = 0x9E3779B9

# What a number is drawn for. Streams are independent: adding one changes none of the others.
(ORDER, CROP_Y, CROP_X, FLIP, CUTOUT_Y, CUTOUT_X, BATCH, NOISE, CROP_SIZE, RESAMPLE, BRIGHTNESS,
 CONTRAST) = range(12)


def mix(x: Any) -> Any:
    """Returns lowbias32 of integers in [0, 2^32): uint64 of the same shape, or a Python int for one."""
    if isinstance(x, int):
        x &= MASK
        x = ((x ^ (x >> 16)) * MULTIPLIER_1) & MASK
        x = ((x ^ (x >> 15)) * MULTIPLIER_2) & MASK
        return x ^ (x >> 16)
    x = x.astype(np.uint64) & np.uint64(MASK)
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(MULTIPLIER_1)) & np.uint64(MASK)
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(MULTIPLIER_2)) & np.uint64(MASK)
    return x ^ (x >> np.uint64(16))


def key(seed: int, *parts: int) -> int:
    """Returns a 32-bit key of a seed and further non-negative integers (stream, epoch, ...), whose order matters."""
    state = mix(seed & MASK)
    for part in parts:
        state = mix(state ^ ((part * GOLDEN + 1) & MASK))
    return state


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """Returns the order of `count` samples in `epoch`: int64 [count].

    The argsort of a bijective hash, so that keys never tie and no library's generator is involved. Hash and index lie
    in one integer: numpy sorts values many times as fast as it sorts places, and a GPU waits for this at each epoch.
    """
    index = np.arange(count, dtype=np.uint64)
    keys = mix(index ^ np.uint64(key(seed, ORDER, epoch)))
    return (np.sort(keys << np.uint64(32) | index) & np.uint64(MASK)).astype(np.int64)


def draw(stream_key: int, index: Any, bound: Any) -> np.ndarray:
    """Returns one integer in [0, bound) for each sample index: int64, shape of `index`. `stream_key` comes from `key`.

    bound: an integer, or one for each sample.
    """
    bits = mix(np.asarray(index).astype(np.uint64) ^ np.uint64(stream_key))
    return ((bits * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)
