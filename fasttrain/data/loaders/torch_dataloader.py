"""What most people write: a Dataset that opens, decodes and augments one image with Pillow, and torch's DataLoader.

The baseline for comparison. Only the draws differ from the usual code: they are keyed, and travel with the index.
"""

import io
import os

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from fasttrain.data.augment.fused import FUSED, fused_draws, fused_keys
from fasttrain.data.batch import Batch, BatchLoader
from fasttrain.data.prefetch import to_device
from fasttrain.errors import DataError


class ImageDataset(Dataset):
    """Augmented images of a Split: (image, label, index) of `dataset[index, y, x, flip, cutout_y, cutout_x]`.

    All but the index are the sample's `fused.Draws`.
    """

    def __init__(self, split, cutout):
        self.split, self.cutout = split, cutout

    def __len__(self):
        return len(self.split)

    def __getitem__(self, sample):
        index, y, x, flip, cutout_y, cutout_x = sample
        size = self.split.image_size
        image = self.open(self.split.rows[index]).crop((x, y, x + size, y + size))  # what lies outside becomes 0
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.cutout:
            image.paste((0, 0, 0), (cutout_x, cutout_y, cutout_x + self.cutout, cutout_y + self.cutout))
        return torch.from_numpy(np.array(image)), self.split.labels[index], index

    def open(self, row):
        """One row of the pack as an RGB image: from its JPEG bytes, or from its pixels where the pack has none."""
        if self.split.jpeg is None:
            return Image.fromarray(self.split.pixels[row])
        start, end = self.split.offsets[row:row + 2]
        try:
            return Image.open(io.BytesIO(self.split.jpeg[start:end])).convert("RGB")
        except OSError as error:
            raise ValueError(f"the image in row {row} of the pack is damaged ({type(error).__name__}): run `fasttrain "
                             "data verify`, then `fasttrain data pack --rebuild`") from None

    def collate(self, samples):
        """(images, labels, indices); a rank's slice of a short batch may be empty."""
        if samples:
            return default_collate(samples)
        nothing = torch.empty(0, dtype=torch.int64)
        return torch.empty((0, *self.split.pixels.shape[1:]), dtype=torch.uint8), nothing, nothing


class DrawnSteps:
    """The DataLoader's batch sampler: each sample of the epoch's `steps` with its draws; workers hold no state."""

    def __init__(self, augment, image_size):
        self.augment, self.image_size = augment, image_size
        self.keys, self.steps = None, []

    def __iter__(self):
        for indices, _ in self.steps:
            drawn = fused_draws(self.augment, self.keys, indices, self.image_size)
            yield list(zip(indices.tolist(), *(column.tolist() for column in drawn), strict=True))


class TorchLoader(BatchLoader):
    """Serves every split; see `BatchLoader` for the contract. Workers start with the first iteration and then stay.

    They are forked, and share the memory-mapped pack that way. A fork of a process that used OpenMP may start no thread
    of its own: workers run Pillow and numpy only, and torch limits itself to one thread in them.
    """

    does = FUSED

    def __init__(self, spec):
        super().__init__(spec)
        self.dataset = ImageDataset(spec.split, self.augment.cutout)
        self.sampler = DrawnSteps(self.augment, spec.split.image_size)
        self.loader = DataLoader(
            self.dataset, batch_sampler=self.sampler, collate_fn=self.dataset.collate,
            num_workers=min(spec.workers, len(self) or 1), persistent_workers=True,
            multiprocessing_context="fork", worker_init_fn=leave_the_process_group,
            pin_memory=torch.device(spec.device).type == "cuda")

    def load(self, epoch, steps):
        return to_device(self.decode(epoch, steps), self.spec.device)

    def decode(self, epoch, steps):
        """Yields the batches in host memory; what a worker raises becomes one line."""
        self.sampler.keys = fused_keys(self.augment, self.spec.seed, epoch)
        self.sampler.steps = steps
        try:
            for tensors, (_, valid) in zip(self.loader, steps, strict=True):
                yield Batch(*tensors, valid)
        except Exception as error:  # of a dozen types for a damaged image, RuntimeError for a killed worker
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise DataError(f"loader torch: a worker failed on the {self.spec.split.name} images: {reason}") from error

    def close(self):
        self.loader = None


def leave_the_process_group(worker):
    """Ctrl-C and `timeout` signal the whole group: the trainer finishes its step then, and needs its workers for it."""
    os.setpgrp()
