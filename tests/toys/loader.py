"""A toy loader, which augments nothing itself."""

import torch

from fasttrain.data.batch import Batch, BatchLoader


class PlainLoader(BatchLoader):
    def load(self, epoch, steps):
        split, device = self.spec.split, self.spec.device
        for indices, valid in steps:
            arrays = split.pixels[split.rows[indices]], split.labels[indices], indices
            yield Batch(*(torch.from_numpy(array).to(device) for array in arrays), valid)
