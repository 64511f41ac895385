"""Colour: brightness and then contrast, each changed by a random share of at most what its setting says.

As torchvision's ColorJitter, but in integers: factors are counted in 256ths, and each result is rounded half up. The
contrast stretches around the mean over all pixels and channels of the brightened image, a whole gray level.
"""

import numpy as np

from fasttrain import keyed
from fasttrain.data.augment import Augmentation
from fasttrain.data.augment.kernels import numba_kernel


class Colour(Augmentation):
    """Draws (brightness, contrast): the change of each factor in 256ths, -256 .. 256."""

    settings = ("brightness", "contrast")

    def keys(self, seed, epoch):
        return keyed.key(seed, keyed.BRIGHTNESS, epoch), keyed.key(seed, keyed.CONTRAST, epoch)

    def draws(self, keys, indices, draw=keyed.draw):
        most = round(256 * self.augment.brightness), round(256 * self.augment.contrast)
        return tuple(draw(key, indices, 2 * span + 1) - span for key, span in zip(keys, most, strict=True))

    def sample(self, image, brightness, contrast):
        bright = np.minimum((image.astype(np.int64) * (256 + brightness) + 128) // 256, 255)
        mean = (bright.sum() + bright.size // 2) // bright.size
        stretched = mean + ((bright - mean) * (256 + contrast) + 128) // 256
        return np.clip(stretched, 0, 255).astype(np.uint8)

    def in_numba(self, images, brightness, contrast):
        change(images.reshape(len(images), -1), brightness, contrast)

    def in_torch(self, images, brightness, contrast):
        import torch

        brightness, contrast = (change[:, None, None, None] for change in (brightness, contrast))
        bright = ((images.int() * (256 + brightness) + 128) >> 8).clamp(max=255)
        count = 3 * self.image_size**2
        mean = ((bright.sum((1, 2, 3), keepdim=True) + count // 2) // count).int()
        stretched = mean + (((bright - mean) * (256 + contrast) + 128) >> 8)
        return stretched.clamp(0, 255).to(torch.uint8)


@numba_kernel
def change(images, brightness, contrast):
    """images: uint8 [B, bytes], in place. A byte's new value comes from a table of 256, made for each image."""
    table, values = np.empty(256, np.uint8), np.arange(256)
    for i in range(len(images)):
        image, total = images[i], 0
        bright = np.minimum((values * (256 + brightness[i]) + 128) >> 8, 255)
        for value in image:
            total += bright[value]
        mean = (total + len(image) // 2) // len(image)
        table[:] = np.minimum(np.maximum(mean + (((bright - mean) * (256 + contrast[i]) + 128) >> 8), 0), 255)
        for k in range(np.uint64(len(image))):
            image[k] = table[image[k]]
