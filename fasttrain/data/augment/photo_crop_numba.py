"""`photo_crop.crop_photo` as a numba kernel, serial and without the GIL."""

import numba
import numpy as np

from fasttrain.data.augment.photo_crop import BITS
from fasttrain.storage import use_kernel_cache

use_kernel_cache()

HALF = 1 << (BITS - 1)


@numba.njit(nogil=True, cache=True)
def taps(length, size):
    """`photo_crop.filter_weights` without zeros: (first, count, weights), int64 [size] twice, int32 [size, taps]."""
    scale = length / size
    support = max(scale, 1.0)
    first, count = np.empty(size, np.int64), np.empty(size, np.int64)
    weights = np.zeros((size, 2 * int(np.ceil(support)) + 1), np.int32)
    exact = np.empty(weights.shape[1])
    for i in range(size):
        centre = (i + 0.5) * scale
        first[i] = max(int(centre - support + 0.5), 0)
        count[i] = min(int(centre + support + 0.5), length) - first[i]
        total = 0.0
        for k in range(count[i]):
            exact[k] = max(0.0, 1.0 - abs((k + first[i] - centre + 0.5) * (1.0 / support)))
            total += exact[k]
        for k in range(count[i]):
            weights[i, k] = int(0.5 + exact[k] / total * (1 << BITS))
    return first, count, weights


@numba.njit(nogil=True, cache=True)
def across_row(out, row, first, count, weights):
    """Resizes one row of pixels: `row` and `out` are bytes, three a pixel."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for i in range(np.uint64(len(first))):
        red = green = blue = np.int32(HALF)
        source = three * np.uint64(first[i])
        for k in range(np.uint64(count[i])):
            weight = weights[i, k]
            red += np.int32(row[source]) * weight
            green += np.int32(row[source + one]) * weight
            blue += np.int32(row[source + two]) * weight
            source += three
        target = three * i
        out[target], out[target + one], out[target + two] = red >> BITS, green >> BITS, blue >> BITS


@numba.njit(nogil=True, cache=True)
def add_row(sums, row, weight):
    """Adds `row`, uint8, times `weight` to `sums`, int32."""
    for k in range(len(sums)):
        sums[k] += np.int32(row[k]) * weight


@numba.njit(nogil=True, cache=True)
def crop_photos(out, data, offsets, widths, boxes):
    """Fills `out`, uint8 [B, S, S, 3]; photo i begins at data[offsets[i]], is widths[i] wide and cut to boxes[i]."""
    size = out.shape[1]
    sums = np.empty(3 * size, np.int32)
    for i in range(len(out)):
        y, x, height, width = boxes[i]
        first, count, weights = taps(width, size)
        rows = np.empty((height, 3 * size), np.uint8)
        for row in range(height):
            start = offsets[i] + 3 * ((y + row) * widths[i] + x)
            across_row(rows[row], data[start:start + 3 * width], first, count, weights)
        first, count, weights = taps(height, size)
        for line in range(size):
            sums[:] = HALF
            for k in range(count[line]):
                add_row(sums, rows[first[line] + k], weights[line, k])
            target = out[i, line].reshape(-1)
            for k in range(3 * size):
                target[k] = sums[k] >> BITS
