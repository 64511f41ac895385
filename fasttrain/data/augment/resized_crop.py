"""Random resized crop: the definition in numpy, and the step that applies it to whole batches on their device.

As torchvision's RandomResizedCrop(size, scale=(s, 1), ratio=(3/4, 4/3)) with bilinear weights, but in integers: crop
sizes come from a table, weights are exact fractions, and the exact value is rounded half up. All mirrors are therefore
bit-equal. Any other bilinear filter that samples at pixel centres (torchvision's, OpenCV's) is within one gray level.

Loaders deliver the plain image and `BatchLoader` crops afterwards, flip and cutout following, so that none of them
needs a resampler of its own.
"""


import numpy as np

from fasttrain import keyed

STRATA = 64  # of the area and of the aspect ratio: one draw picks one of 64 x 64 shapes


def crop_sizes(scale, size):
    """The table of crops that a draw picks from: (height, width), int64 [4096, 2], in pixels.

    Areas are evenly spread over [scale, 1] of the image, ratios evenly in their logarithm over [3/4, 4/3]. A side that
    would leave the image is cut to it, where torchvision draws again.
    """
    middle = (np.arange(STRATA) + 0.5) / STRATA
    side = size * np.sqrt(scale + (1 - scale) * middle)[:, None]
    root = np.sqrt(4 / 3) ** (2 * middle - 1)
    sizes = np.stack([side / root, side * root], -1).reshape(-1, 2)
    return np.clip(np.rint(sizes), 1, size).astype(np.int64)


def crop_boxes(keys, sizes, indices, image_size, draw=keyed.draw):
    """What is cut out of the samples `indices`, int64 [B]: (y, x, height, width), each int64 [B], in pixels.

    `keys` are an `augment.DrawKeys`, `sizes` come from `crop_sizes`; `draw` is the mirror (numpy or torch).
    """
    chosen = sizes[draw(keys.crop_size, indices, len(sizes))]
    height, width = chosen[:, 0], chosen[:, 1]
    return (draw(keys.crop_y, indices, image_size - height + 1), draw(keys.crop_x, indices, image_size - width + 1),
            height, width)


def taps(length, line):
    """The two source pixels of each output pixel where `length` pixels are resized to S >= `length`, along one side.

    line: 0 .. S - 1. Returns (first, second, weight), integers of the shape of `length * line`: output pixel i is
    (first * (2S - weight) + second * weight) / 2S. Its centre lies at ((2i + 1) length / S - 1) / 2, held inside of the
    crop. Works on arrays and on tensors.
    """
    unit = 2 * line.shape[-1]
    position = (2 * line + 1) * length - line.shape[-1]
    position = position * (position > 0)
    first = position // unit
    return first, first + (first + 1 < length), position % unit


def resized_crop_sample(image, box):
    """The reference: cuts the box (y, x, height, width) out of one uint8 image [S, S, 3] and resizes it to S x S."""
    size = len(image)
    y, x, height, width = (int(v) for v in box)
    crop = image[y:y + height, x:x + width].astype(np.int64)
    top, bottom, down = taps(height, np.arange(size))
    left, right, across = taps(width, np.arange(size))
    down, across, unit = down[:, None, None], across[:, None], 2 * size
    rows = crop[top] * (unit - down) + crop[bottom] * down
    exact = rows[:, left] * (unit - across) + rows[:, right] * across
    return ((exact + unit**2 // 2) // unit**2).astype(np.uint8)
