"""Cutout: a square of zeros at a random place (DeVries and Taylor, arXiv:1708.04552)."""

from fasttrain import keyed
from fasttrain.data.augment import Augmentation
from fasttrain.data.augment.kernels import numba_kernel


class Cutout(Augmentation):
    """Draws (top, left) of the square, in pixels; its centre lies in the image, its corners may lie outside."""

    settings = ("cutout",)

    def keys(self, seed, epoch):
        return keyed.key(seed, keyed.CUTOUT_Y, epoch), keyed.key(seed, keyed.CUTOUT_X, epoch)

    def draws(self, keys, indices, draw=keyed.draw):
        return tuple(draw(key, indices, self.image_size) - self.augment.cutout // 2 for key in keys)

    def sample(self, image, top, left):
        image, side = image.copy(), self.augment.cutout
        image[max(top, 0):top + side, max(left, 0):left + side] = 0
        return image

    def in_numba(self, images, top, left):
        cut(images, top, left, self.augment.cutout)

    def in_torch(self, images, top, left):
        import torch

        line = torch.arange(self.image_size, device=images.device, dtype=torch.int32)
        rows, columns = ((line >= start[:, None]) & (line < start[:, None] + self.augment.cutout)
                         for start in (top, left))
        return torch.where((rows[:, :, None] & columns[:, None, :])[..., None], 0, images)


@numba_kernel
def cut(images, tops, lefts, side):
    for i in range(len(images)):
        images[i, max(tops[i], 0):max(tops[i] + side, 0), max(lefts[i], 0):max(lefts[i] + side, 0)] = 0
