"""Decodes the pack's JPEG bytes for every batch, in threads: for data larger than memory.

libjpeg-turbo (through `decode.py`) and the augmentation kernel both release the GIL, so threads use all cores and share
what they read. Each batch is cut into one part per thread, and decoding runs two batches ahead of the step.
"""

import contextlib
from functools import partial

import numpy as np
import torch

from fasttrain.data.augment.fused import FUSED
from fasttrain.data.batch import Batch, BatchLoader
from fasttrain.data.decode import decode_plain
from fasttrain.data.encoded import damaged, require_jpeg
from fasttrain.data.prefetch import to_device
from fasttrain.data.threads import map_in_order

SMALLEST_PART = 8  # images that a thread takes at a time, at least: a hand-over costs as much as one image
GROUP = 32  # images between decoding and augmenting: at 64 px they stay in the core's cache


class JpegLoader(BatchLoader):
    """Serves splits that are all JPEG of the wanted size; see `BatchLoader` for the contract.

    Holds at most two batches ahead of its user (or SMALLEST_PART images for each of twice the threads, if that is
    more). The allocators of the C library and of torch (pinned memory, for a GPU) keep the few blocks that this takes
    and hand them out again, but only when nothing refers to them: no batch is overwritten under its user.
    """

    does = FUSED

    def __init__(self, spec):
        super().__init__(spec)
        split = spec.split
        require_jpeg("jpeg", split)
        self.encoded = memoryview(np.asarray(split.jpeg))
        self.threads = spec.workers

    def load(self, epoch, steps):
        return to_device(self.decode(epoch, steps), self.spec.device)

    def decode(self, epoch, steps):
        """Yields the batches in host memory."""
        from fasttrain.data.augment.fused_numba import augment_batch, kernel_arguments

        arguments = kernel_arguments(self.augment, self.spec.seed, epoch)

        def augment(*batch):
            augment_batch(*batch, *arguments)

        with contextlib.closing(map_in_order(partial(self.fill, augment), self.parts(steps), self.threads)) as filled:
            for batch in filled:
                if batch is not None:
                    yield batch

    def parts(self, steps):
        """Allocates each batch and cuts it into parts: (images, indices, the whole batch with the last part)."""
        pinned, split = torch.device(self.spec.device).type == "cuda", self.spec.split
        shape = split.pixels.shape[1:]
        for indices, valid in steps:
            images = torch.empty((len(indices), *shape), dtype=torch.uint8, pin_memory=pinned)
            batch = Batch(images, torch.from_numpy(split.labels[indices]), torch.from_numpy(indices), valid)
            size = max(SMALLEST_PART, -(-len(indices) // self.threads))
            for first in range(0, max(len(indices), 1), size):
                part = slice(first, first + size)
                yield images.numpy()[part], indices[part], batch if part.stop >= len(indices) else None

    def fill(self, augment, part):
        """Decodes and augments one part into its place; returns its third element."""
        images, indices, batch = part
        rows = self.spec.split.rows[indices]
        decoded = np.empty((min(GROUP, len(rows)), *images.shape[1:]), np.uint8)
        for first in range(0, len(rows), GROUP):
            group = slice(first, first + GROUP)
            self.decode_rows(rows[group], decoded)
            augment(images[group], decoded, np.arange(len(rows[group])), indices[group])
        return batch

    def decode_rows(self, rows, decoded):
        """Decodes the images of the pack's `rows` into the first of `decoded`; DataError names one that is damaged."""
        split = self.spec.split
        starts, ends = split.offsets[rows].tolist(), split.offsets[rows + 1].tolist()
        for row, start, end, out in zip(rows, starts, ends, decoded, strict=False):
            try:
                decode_plain(self.encoded[start:end], out)
            except ValueError as error:
                raise damaged("jpeg", split, row, error) from error
