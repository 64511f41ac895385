"""FFCV reads raw pixels from its own file format: one thread augments them straight into pinned buffers.

Order and augmentation are ours and keyed, so the batches equal those of every other loader. FFCV gives the file format,
the buffers, the reader thread and the copy to the GPU on streams of its own.
"""

import numpy as np
import torch

from fasttrain.data.augment.fused import FUSED
from fasttrain.data.augment.fused_numba import kernel_arguments
from fasttrain.data.batch import Batch, BatchLoader
from fasttrain.data.ffcv.beton import open_beton
from fasttrain.data.labels import no_images, targets_on
from fasttrain.data.loaders import missing
from fasttrain.errors import ConfigError


class FfcvLoader(BatchLoader):
    """Serves every split; see `BatchLoader` for the contract. The first use of a split writes its .beton.

    Raises ConfigError without FFCV; DataError where the file cannot be written or read, and where the reader hangs.
    """

    does = FUSED

    def __init__(self, spec):
        super().__init__(spec)
        self.parts = import_parts()
        self.device = torch.device(spec.device)
        self.loader = self.parts.make_loader(open_beton(spec.split), self.device)
        self.warm_up()

    def warm_up(self):
        """Reads one image: compiles, or loads what an earlier process compiled."""
        reader = self.read(0, np.zeros(1, np.int64), 1)
        next(reader)
        reader.close()

    def read(self, epoch, order, batch_size):
        """Returns a `Reader` of the samples `order` (int64), `batch_size` at a time."""
        self.loader.batch_size = batch_size
        return self.parts.Reader(self.loader, order, kernel_arguments(self.augment, self.spec.seed, epoch))

    def load(self, epoch, steps):
        if not steps:
            return
        order = np.concatenate([indices for indices, _ in steps])
        # A rank's steps are of one size, but for a last one that may be smaller, or empty.
        reader = self.read(epoch, order, max(1, len(steps[0][0])))
        try:
            for (local, valid), targets in zip(steps, targets_on(self.device, self.spec.split.labels, steps),
                                               strict=True):
                images = owned(next(reader)) if len(local) else no_images(self.spec)
                yield Batch(images, *targets, valid)
        finally:
            reader.close()

    def close(self):
        self.loader = None


def owned(images):
    """Returns a copy that the reader does not overwrite. On a CPU numpy makes it: torch's threads would go on spinning
    after each copy, on the cores that the reader needs."""
    return torch.from_numpy(images.numpy().copy()) if images.device.type == "cpu" else images.clone()


def import_parts():
    """Returns the module `ffcv.parts`; ConfigError where FFCV is missing or broken."""
    if reason := missing("ffcv"):
        raise ConfigError(f"loader ffcv: cannot import FFCV ({reason}): scripts/install_ffcv installs it, or use "
                          "--loader resident")
    from fasttrain.data.ffcv import parts

    return parts
