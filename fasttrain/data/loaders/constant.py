"""Yields the same batch every time: the upper bound on speed, for benchmarks."""

import itertools

import numpy as np
import torch

from fasttrain.data.augment.fused import FUSED
from fasttrain.data.augment.fused_numba import augment_batch, kernel_arguments
from fasttrain.data.batch import Batch, BatchLoader


class ConstantLoader(BatchLoader):
    """Repeats the first batch of epoch 0 as often as an epoch has steps; a network learns nothing from it."""

    does = FUSED

    def __init__(self, spec):
        super().__init__(spec)
        self.batch = next(super().__iter__())

    def __iter__(self):
        return itertools.repeat(self.batch, len(self) - self.start_step)

    def load(self, epoch, steps):
        split, (indices, valid) = self.spec.split, steps[0]
        images = np.empty((len(indices), *split.pixels.shape[1:]), np.uint8)
        augment_batch(images, split.pixels, split.rows[indices], indices,
                      *kernel_arguments(self.augment, self.spec.seed, epoch))
        tensors = (torch.from_numpy(array) for array in (images, split.labels[indices], indices))
        yield Batch(*(tensor.to(self.spec.device) for tensor in tensors), valid)
