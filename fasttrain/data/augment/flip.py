"""Left-right flip: at random in each epoch, or at random in the first one and in turn afterwards ("alternating")."""

import numpy as np

from fasttrain import keyed
from fasttrain.data.augment import Augmentation
from fasttrain.data.augment.kernels import numba_kernel


class Flip(Augmentation):
    """Draws (flip,): 0 or 1.

    Alternating flip keeps its key over the epochs and adds the epoch's parity (K. Jordan, "94% on CIFAR-10 in 3.29
    seconds", arXiv:2404.00498).
    """

    settings = ("flip",)

    def keys(self, seed, epoch):
        alternating = self.augment.flip == "alternating"
        return keyed.key(seed, keyed.FLIP, 0 if alternating else epoch), epoch % 2 if alternating else 0

    def draws(self, keys, indices, draw=keyed.draw):
        key, offset = keys
        return (indices * 0 if self.augment.flip == "none" else (draw(key, indices, 2) + offset) % 2,)

    def sample(self, image, flip):
        return image[:, ::-1].copy() if flip else image.copy()

    def in_numba(self, images, flip):
        mirror(images.reshape(len(images), self.image_size, 3 * self.image_size), flip)

    def in_torch(self, images, flip):
        import torch

        line = torch.arange(self.image_size, device=images.device)
        place = torch.arange(len(images), device=images.device)
        column = torch.where(flip[:, None] == 1, self.image_size - 1 - line, line)
        return images[place[:, None, None], line[:, None], column[:, None, :]]


@numba_kernel
def mirror(images, flips):
    """Unsigned indices: with signed ones numba checks each for wrapping around, which is ten times slower."""
    one, two, three, last = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(images.shape[2] - 3)
    for i in range(len(images)):
        if flips[i]:
            for row in images[i]:
                for left in range(np.uint64(len(row) // 6)):
                    a, b = three * left, last - three * left
                    row[a], row[b] = row[b], row[a]
                    row[a + one], row[b + one] = row[b + one], row[a + one]
                    row[a + two], row[b + two] = row[b + two], row[a + two]
