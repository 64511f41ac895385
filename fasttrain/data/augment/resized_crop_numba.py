"""`resized_crop.resized_crop_sample` as a numba kernel, serial and without the GIL as those in `augment_numba.py`."""

import numba
import numpy as np

from fasttrain.data.augment.numba_mirror import augment_into
from fasttrain.keyed.numba_mirror import draw


@numba.njit(inline="always")
def tap(length, i, size):
    """`resized_crop.taps` of one output pixel: (first, second, weight)."""
    position = max((2 * i + 1) * length - size, 0)
    first = position // (2 * size)
    return first, min(first + 1, length - 1), position % (2 * size)


@numba.njit(nogil=True, cache=True)
def blend_rows(out, first, second, weight, unit):
    """first * (unit - weight) + second * weight, for each byte of two rows, into `out`, int32."""
    for k in range(len(out)):
        out[k] = first[k] * (unit - weight) + second[k] * weight


@numba.njit(nogil=True, cache=True)
def blend_columns(out, row, left, right, weights, unit):
    """Mixes the pixels `left` and `right` (offsets, uint32 [S]) of `row` (int32) and rounds to `out`, uint8 [3 * S].

    Divides by unit^2 <= 2^20 through a multiplication that is exact for what bytes can add up to, less than 2^28.
    """
    half, inverse = unit * unit // 2, ((1 << 48) + unit * unit - 1) // (unit * unit)
    three, one, two = np.uint64(3), np.uint64(1), np.uint64(2)
    for j in range(np.uint64(len(left))):
        a, b, target, weight = np.uint64(left[j]), np.uint64(right[j]), three * j, weights[j]
        other = unit - weight
        out[target] = ((row[a] * other + row[b] * weight + half) * inverse) >> 48
        out[target + one] = ((row[a + one] * other + row[b + one] * weight + half) * inverse) >> 48
        out[target + two] = ((row[a + two] * other + row[b + two] * weight + half) * inverse) >> 48


@numba.njit(nogil=True, cache=True)
def resize_into(out, image, size, y, x, height, width):
    """Resizes the box of `image` to S x S: `image` and `out` are bytes, uint8 [S * S * 3], S = `size`."""
    left, right, weights = np.empty(size, np.uint32), np.empty(size, np.uint32), np.empty(size, np.int64)
    for j in range(size):
        first, second, weights[j] = tap(width, j, size)
        left[j], right[j] = 3 * first, 3 * second
    row = np.empty(3 * width, np.int32)
    for i in range(size):
        first, second, weight = tap(height, i, size)
        above, below = 3 * ((y + first) * size + x), 3 * ((y + second) * size + x)
        blend_rows(row, image[above:above + 3 * width], image[below:below + 3 * width], weight, 2 * size)
        blend_columns(out[3 * size * i:3 * size * (i + 1)], row, left, right, weights, 2 * size)


@numba.njit(nogil=True, cache=True)
def _resized_crop_batch(out, images, indices, sizes, flips, cutout, keys):
    size = images.shape[1]
    flat_out, flat_images = out.reshape(len(out), -1), images.reshape(len(images), -1)
    resized = np.empty(3 * size * size, np.uint8)
    for i in range(len(indices)):
        chosen = draw(keys[6], indices[i], len(sizes))
        height, width = sizes[chosen, 0], sizes[chosen, 1]
        y = draw(keys[0], indices[i], size - height + 1)
        x = draw(keys[1], indices[i], size - width + 1)
        resize_into(resized, flat_images[i], size, y, x, height, width)
        augment_into(flat_out[i], resized, size, indices[i], 0, flips, cutout, keys)


def resized_crop_batch(out, images, indices, sizes, arguments):
    """Crops, resizes, flips and cuts `images` into `out`, both uint8 [B, S, S, 3].

    indices: int64 [B], positions in the split. sizes: from `resized_crop.crop_sizes`. arguments: from
    `augment_numba.kernel_arguments`.
    """
    _, flips, cutout, keys = arguments
    _resized_crop_batch(out, images, indices, sizes, flips, cutout, keys)
