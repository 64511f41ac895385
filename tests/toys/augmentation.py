"""A toy augmentation, always on: every byte of an image is XORed with one that the sample draws."""

import numpy as np

from fasttrain import keyed
from fasttrain.data.augment import Augmentation

STREAM = 77


class Scramble(Augmentation):
    @classmethod
    def is_on(cls, augment):
        return True

    def keys(self, seed, epoch):
        return (keyed.key(seed, STREAM, epoch),)

    def draws(self, keys, indices, draw=keyed.draw):
        return (draw(keys[0], indices, 256),)

    def sample(self, image, byte):
        return image ^ np.uint8(byte)

    def in_numba(self, images, byte):
        images ^= byte.astype(np.uint8)[:, None, None, None]

    def in_torch(self, images, byte):
        return images ^ byte.byte()[:, None, None, None]
