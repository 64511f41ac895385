"""Crop, flip and cutout as one numba kernel: a single pass from the stored image to its place in the batch.

Rows are moved whole (LLVM turns each into a wide copy), so one core does some 300,000 images of 64 x 64 a second. The
kernel is serial and releases the GIL: any thread or worker process may call it, with none of numba's threading layers.
Unsigned indices matter: with signed ones numba checks each for wrapping around, which is ten times slower.
"""

import numba
import numpy as np

from fasttrain.config import Augment
from fasttrain.data.augment.fused import fused_keys
from fasttrain.keyed.numba_mirror import draw
from fasttrain.storage import use_kernel_cache

use_kernel_cache()


@numba.njit(nogil=True, cache=True)
def copy_row(out, row):
    """Copies the bytes of `row` to `out`, uint8 of equal length."""
    for k in range(len(out)):
        out[k] = row[k]


@numba.njit(nogil=True, cache=True)
def mirror_row(out, row):
    """Copies the pixels of `row` to `out` in reverse order, uint8 of equal length, three bytes each."""
    pixels, three, two, one = np.uint64(len(row) // 3), np.uint64(3), np.uint64(2), np.uint64(1)
    for pixel in range(pixels):
        source = three * pixel
        target = three * (pixels - one - pixel)
        out[target] = row[source]
        out[target + one] = row[source + one]
        out[target + two] = row[source + two]


@numba.njit(nogil=True, cache=True)
def augment_into(out, image, size, index, padding, flips, cutout, keys):
    """Augments the sample `index`: `image` and `out` are its bytes before and after, uint8 [S * S * 3], S = `size`.

    `keys` are those of `fused.fused_keys`.
    """
    span, width = 2 * padding + 1, 3 * size
    top = draw(keys[0], index, span) - padding
    left = draw(keys[1], index, span) - padding
    flip = flips and (draw(keys[2], index, 2) + keys[3]) % 2 == 1
    y0 = min(max(0, -top), size)  # rows y0 .. y1 and columns x0 .. x1 of the crop lie inside of the image
    y1 = max(min(size, size - top), y0)
    x0 = min(max(0, -left), size)
    x1 = max(min(size, size - left), x0)
    out[:y0 * width] = 0
    out[y1 * width:] = 0
    for y in range(y0, y1):
        line = out[y * width:(y + 1) * width]
        row = image[(y + top) * width + 3 * (x0 + left):(y + top) * width + 3 * (x1 + left)]
        if flip:
            line[:3 * (size - x1)] = 0
            line[3 * (size - x0):] = 0
            mirror_row(line[3 * (size - x1):3 * (size - x0)], row)
        else:
            line[:3 * x0] = 0
            line[3 * x1:] = 0
            copy_row(line[3 * x0:3 * x1], row)
    if cutout > 0:
        y0 = draw(keys[4], index, size) - cutout // 2
        x0 = draw(keys[5], index, size) - cutout // 2
        for y in range(max(y0, 0), min(y0 + cutout, size)):
            out[y * width + 3 * max(x0, 0):y * width + 3 * min(x0 + cutout, size)] = 0


@numba.njit(nogil=True, cache=True)
def augment_batch(out, pixels, rows, indices, padding, flips, cutout, keys):
    """Augments `pixels[rows]` (uint8 [N, S, S, 3], int64 [B]) into `out`, uint8 [B, S, S, 3].

    `indices` int64 [B] are the samples' positions in the split, which key the draws; what follows them comes from
    `kernel_arguments`.
    """
    size = pixels.shape[1]
    flat_out, flat_pixels = out.reshape(len(out), -1), pixels.reshape(len(pixels), -1)
    for i in range(len(indices)):
        augment_into(flat_out[i], flat_pixels[rows[i]], size, indices[i], padding, flips, cutout, keys)


def kernel_arguments(augment: Augment, seed: int, epoch: int) -> tuple:
    """Returns (padding, flips, cutout, keys) as the kernels take them."""
    keys = np.array(fused_keys(augment, seed, epoch), np.int64)
    return augment.crop_padding, augment.flip != "none", augment.cutout, keys
