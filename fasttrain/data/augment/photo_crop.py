"""Random resized crops of photos of any size: torchvision's RandomResizedCrop, with keyed draws.

Resampled by Pillow's antialiased bilinear filter, in its integers of 22 bits: first across, then down, each rounded.
Pillow itself may go down first, and is then within one gray level. `photo_crop_numba.py` mirrors this bit for bit.
"""

import numpy as np

from fasttrain import keyed

TRIES = 10  # boxes that are drawn before the largest in the middle is taken
UNIT = 1 << 24  # a draw's resolution
BITS = 22  # of a filter's weight


def draw_boxes(seed: int, epoch: int, indices: np.ndarray, shapes: np.ndarray, scale: float) -> np.ndarray:
    """Returns what the samples `indices` (int64 [B]) cut out of their photos: int64 [B, 4], (y, x, height, width).

    shapes: int64 [B, 2], the photos' height and width. The area is uniform in [scale, 1] of the photo, the ratio
    uniform in its logarithm over [3/4, 4/3]; a box that leaves the photo is drawn again.
    """
    boxes, open_ = np.empty((len(indices), 2), np.int64), np.ones(len(indices), bool)
    for attempt in range(TRIES):
        share, ratio = (keyed.draw(keyed.key(seed, keyed.CROP_SIZE, epoch, attempt, axis), indices, UNIT) / UNIT
                        for axis in range(2))
        side = np.sqrt(shapes.prod(1) * (scale + (1 - scale) * share))
        root = np.sqrt(4 / 3) ** (2 * ratio - 1)
        sizes = np.rint(np.stack([side / root, side * root], 1)).astype(np.int64)
        fits = open_ & ((sizes > 0) & (sizes <= shapes)).all(1)
        boxes[fits], open_ = sizes[fits], open_ & ~fits
    boxes[open_] = np.maximum(np.minimum(shapes, np.rint(shapes[:, ::-1] * (4 / 3)).astype(np.int64)), 1)[open_]
    corners = np.stack([keyed.draw(keyed.key(seed, stream, epoch), indices, shapes[:, axis] - boxes[:, axis] + 1)
                        for axis, stream in enumerate((keyed.CROP_Y, keyed.CROP_X))], 1)
    corners[open_] = (shapes - boxes)[open_] // 2
    return np.concatenate([corners, boxes], 1)


def crop_photo(photo: np.ndarray, y: int, x: int, height: int, width: int, size: int) -> np.ndarray:
    """The definition: returns the box of a photo, uint8 [H, W, 3], resized to uint8 [size, size, 3]."""
    crop = photo[y:y + height, x:x + width].astype(np.int64)
    rows = _rounded(np.einsum("ow,hwc->hoc", filter_weights(width, size), crop))
    return _rounded(np.einsum("oh,hwc->owc", filter_weights(height, size), rows)).astype(np.uint8)


def filter_weights(length: int, size: int) -> np.ndarray:
    """Returns what each of `length` pixels gives to each of `size`, in units of 2^-22: int64 [size, length].

    A triangle around the output pixel's centre, as wide to each side as an output pixel, at least as an input one.
    """
    scale = length / size
    reach = max(scale, 1.0)
    centre = (np.arange(size) + 0.5)[:, None] * scale
    weights = np.maximum(1 - np.abs(np.arange(length) - centre + 0.5) * (1 / reach), 0)
    return (weights / weights.sum(1, keepdims=True) * (1 << BITS) + 0.5).astype(np.int64)


def _rounded(sums):
    return (sums + (1 << BITS - 1)) >> BITS
