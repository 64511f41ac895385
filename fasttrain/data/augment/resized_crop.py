"""Random resized crop: a part of the image of random area and aspect ratio, resized to the whole.

As torchvision's RandomResizedCrop(size, scale=(s, 1), ratio=(3/4, 4/3)) with bilinear weights, but in integers: crop
sizes come from a table, weights are exact fractions, and the exact value is rounded half up. All mirrors are therefore
bit-equal. Any other bilinear filter that samples at pixel centres (torchvision's, OpenCV's) is within one gray level.
"""

import numpy as np

from fasttrain import keyed
from fasttrain.data.augment import Augmentation

STRATA = 64  # of the area and of the aspect ratio: one draw picks one of 64 x 64 shapes


class ResizedCrop(Augmentation):
    """Draws (y, x, height, width) of what is cut out, in pixels. sizes: the table of `crop_sizes`."""

    settings = ("rrc_scale",)

    def __init__(self, augment, image_size):
        super().__init__(augment, image_size)
        self.sizes = crop_sizes(augment.rrc_scale, image_size)

    def keys(self, seed, epoch):
        return tuple(keyed.key(seed, stream, epoch) for stream in (keyed.CROP_SIZE, keyed.CROP_Y, keyed.CROP_X))

    def draws(self, keys, indices, draw=keyed.draw):
        chosen, sizes = draw(keys[0], indices, len(self.sizes)), self.sizes
        if not isinstance(indices, np.ndarray):
            import torch

            sizes = torch.from_numpy(sizes).to(indices.device)
        height, width = sizes[chosen].T
        return (draw(keys[1], indices, self.image_size - height + 1),
                draw(keys[2], indices, self.image_size - width + 1), height, width)

    def sample(self, image, y, x, height, width):
        crop = image[y:y + height, x:x + width].astype(np.int64)
        top, bottom, down = taps(height, np.arange(self.image_size))
        left, right, across = taps(width, np.arange(self.image_size))
        down, across, unit = down[:, None, None], across[:, None], 2 * self.image_size
        rows = crop[top] * (unit - down) + crop[bottom] * down
        exact = rows[:, left] * (unit - across) + rows[:, right] * across
        return ((exact + unit**2 // 2) // unit**2).astype(np.uint8)

    def in_numba(self, images, *box):
        from fasttrain.data.augment.resized_crop_numba import resized_crop_batch

        resized_crop_batch(images, *box)

    def in_torch(self, images, y, x, height, width):
        import torch

        unit, place = 2 * self.image_size, torch.arange(len(images), device=images.device)[:, None, None]
        line = torch.arange(self.image_size, device=images.device)
        y, x, height, width = (side[:, None].long() for side in (y, x, height, width))
        top, bottom, down = taps(height, line)
        left, right, across = taps(width, line)
        down, across = down[:, :, None, None].int(), across[:, None, :, None].int()

        def corner(row, column):
            return images[place, (y + row)[:, :, None], (x + column)[:, None, :]].int()

        above = corner(top, left) * (unit - across) + corner(top, right) * across
        below = corner(bottom, left) * (unit - across) + corner(bottom, right) * across
        exact = above * (unit - down) + below * down
        return ((exact + unit**2 // 2) // unit**2).to(torch.uint8)


def crop_sizes(scale: float, size: int) -> np.ndarray:
    """Returns the table of crops that a draw picks from: (height, width), int64 [4096, 2], in pixels.

    Areas are evenly spread over [scale, 1] of the image, ratios evenly in their logarithm over [3/4, 4/3]. A side that
    would leave the image is cut to it, where torchvision draws again.
    """
    middle = (np.arange(STRATA) + 0.5) / STRATA
    side = size * np.sqrt(scale + (1 - scale) * middle)[:, None]
    root = np.sqrt(4 / 3) ** (2 * middle - 1)
    sizes = np.stack([side / root, side * root], -1).reshape(-1, 2)
    return np.clip(np.rint(sizes), 1, size).astype(np.int64)


def taps(length, line):
    """Returns the two source pixels of each output pixel where `length` pixels are resized to S, along one side.

    line: 0 .. S - 1. The result is (first, second, weight), integers of the shape of `length * line`: output pixel i is
    (first * (2S - weight) + second * weight) / 2S. Its centre lies at ((2i + 1) length / S - 1) / 2, held inside of the
    crop. Works on arrays and on tensors.
    """
    unit = 2 * line.shape[-1]
    position = (2 * line + 1) * length - line.shape[-1]
    position = position * (position > 0)
    first = position // unit
    return first, first + (first + 1 < length), position % unit
