"""Random crop: the image moves by up to `crop_padding` pixels each way; zeros come in from outside."""

import numpy as np

from fasttrain import keyed
from fasttrain.data.augment import Augmentation
from fasttrain.data.augment.kernels import numba_kernel


class Crop(Augmentation):
    """Draws (top, left): where the crop starts, in pixels relative to the image, -padding .. padding."""

    settings = ("crop_padding",)

    def keys(self, seed, epoch):
        return keyed.key(seed, keyed.CROP_Y, epoch), keyed.key(seed, keyed.CROP_X, epoch)

    def draws(self, keys, indices, draw=keyed.draw):
        padding = self.augment.crop_padding
        return tuple(draw(key, indices, 2 * padding + 1) - padding for key in keys)

    def sample(self, image, top, left):
        size, pad = self.image_size, self.augment.crop_padding
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        return padded[pad + top:pad + top + size, pad + left:pad + left + size].copy()

    def in_numba(self, images, top, left):
        crop(images, top, left)

    def in_torch(self, images, top, left):
        import torch

        line = torch.arange(self.image_size, device=images.device, dtype=torch.int32)
        place = torch.arange(len(images), device=images.device)
        y, x = line + top[:, None], line + left[:, None]
        inside = self.holds(y)[:, :, None] & self.holds(x)[:, None, :]
        y, x = (side.clamp(0, self.image_size - 1) for side in (y, x))
        return torch.where(inside[..., None], images[place[:, None, None], y[:, :, None], x[:, None, :]], 0)

    def holds(self, position):
        return (position >= 0) & (position < self.image_size)


@numba_kernel
def crop(images, tops, lefts):
    size = images.shape[1]
    for i in range(len(images)):
        top, left, image = tops[i], lefts[i], images[i].copy()
        y0, y1, x0, x1 = max(0, -top), min(size, size - top), max(0, -left), min(size, size - left)
        images[i] = 0
        if y0 < y1 and x0 < x1:
            images[i, y0:y1, x0:x1] = image[y0 + top:y1 + top, x0 + left:x1 + left]
