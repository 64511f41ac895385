"""`ResizedCrop.sample` as a numba kernel, serial and without the GIL."""

import numba
import numpy as np

from fasttrain.storage import use_kernel_cache

use_kernel_cache()


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
def resized_crop_batch(images, ys, xs, heights, widths):
    """Crops and resizes images in place: uint8 [B, S, S, 3]; the boxes are int64 [B] each."""
    size = images.shape[1]
    flat = images.reshape(len(images), -1)
    for i in range(len(images)):
        resize_into(flat[i], flat[i].copy(), size, ys[i], xs[i], heights[i], widths[i])
