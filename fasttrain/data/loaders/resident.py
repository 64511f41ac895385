"""The whole split stays decoded on the training device; a batch is one gather that also crops and flips.

On a CPU the pixels stay in the pack's memory map (shared by all processes through the page cache) and one numba pass
augments them straight into the batch. On a GPU they are copied over once, and torch gathers there. Photos stored
large stay mapped on either: threads cut each batch's crops, ahead of the step.
"""

from functools import partial

import numpy as np
import torch

from fasttrain.data.augment.fused import FUSED, Draws, fused_draws, fused_keys
from fasttrain.data.augment.fused_torch import gather_batch
from fasttrain.data.augment.kernels import torch_kernel
from fasttrain.data.augment.photo_crop import draw_boxes
from fasttrain.data.batch import Batch, BatchLoader
from fasttrain.data.prefetch import to_device
from fasttrain.data.threads import map_in_order
from fasttrain.keyed import torch_mirror

CHUNK = 8192  # images that pass through pinned memory at a time: 100 MB at 64 px


def upload(pixels: np.ndarray, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Returns `pixels[rows]` on a GPU: one chunk is gathered on the host while the one before it is copied."""
    uploaded = torch.empty((len(rows), *pixels.shape[1:]), dtype=torch.uint8, device=device)
    buffers = [torch.empty((min(CHUNK, len(rows)), *pixels.shape[1:]), dtype=torch.uint8, pin_memory=True)
               for _ in range(2)]
    copied = [torch.cuda.Event() for _ in buffers]
    for number, start in enumerate(range(0, len(rows), CHUNK)):
        some, buffer, event = rows[start:start + CHUNK], buffers[number % 2], copied[number % 2]
        event.synchronize()
        np.take(pixels, some, axis=0, out=buffer.numpy()[:len(some)], mode="clip")  # "raise" would gather twice
        uploaded[start:start + len(some)].copy_(buffer[:len(some)], non_blocking=True)
        event.record()
    torch.cuda.synchronize(device)  # before the buffers are freed
    return uploaded


class ResidentLoader(BatchLoader):
    """Serves every split that fits; see `BatchLoader` for the contract."""

    does = FUSED
    cuts_photos = True

    def __init__(self, spec):
        if spec.photos:
            self.does = ("resized_crop",)
        super().__init__(spec)
        self.device = torch.device(spec.device)
        if self.device.type == "cuda" and not spec.photos:
            self.pixels = upload(spec.split.pixels, spec.split.rows, self.device)
            self.labels = torch.from_numpy(spec.split.labels).to(self.device)
            self.gather = torch_kernel(gather_batch)

    def load(self, epoch, steps):
        if self.spec.photos:
            return to_device(map_in_order(partial(self.cut, epoch), steps, self.spec.workers), self.device)
        return self.load_gpu(epoch, steps) if self.device.type == "cuda" else self.load_cpu(epoch, steps)

    def cut(self, epoch, step):
        """Returns the batch of one step, on the host, its images cut from photos; runs in a thread."""
        from fasttrain.data.augment.photo_crop_numba import crop_photos

        (indices, valid), split, photos = step, self.spec.split, self.spec.photos
        rows = split.rows[indices]
        boxes = draw_boxes(self.spec.seed, epoch, indices, photos.shapes[rows], self.augment.rrc_scale)
        images = torch.empty((len(indices), *split.pixels.shape[1:]), dtype=torch.uint8,
                             pin_memory=self.device.type == "cuda")
        crop_photos(images.numpy(), np.asarray(photos.data), photos.offsets[rows], photos.shapes[rows, 1], boxes)
        return Batch(images, torch.from_numpy(split.labels[indices]), torch.from_numpy(indices), valid)

    def load_cpu(self, epoch, steps):
        from fasttrain.data.augment.fused_numba import augment_batch, kernel_arguments

        split = self.spec.split
        arguments = kernel_arguments(self.augment, self.spec.seed, epoch)
        for indices, valid in steps:
            images = np.empty((len(indices), *split.pixels.shape[1:]), np.uint8)
            augment_batch(images, split.pixels, split.rows[indices], indices, *arguments)
            yield Batch(torch.from_numpy(images), torch.from_numpy(split.labels[indices]),
                        torch.from_numpy(indices), valid)

    def load_gpu(self, epoch, steps):
        """One copy of the epoch's order to the GPU, then only launches: the host never waits."""
        if not steps:
            return
        order = torch.from_numpy(np.concatenate([indices for indices, _ in steps])).to(self.device)
        drawn = fused_draws(self.augment, fused_keys(self.augment, self.spec.seed, epoch), order, self.pixels.shape[1],
                            torch_mirror.draw)
        sizes = [len(indices) for indices, _ in steps]
        drawn = (column.int().split(sizes) for column in drawn)
        for (_, valid), indices, *own in zip(steps, order.split(sizes), *drawn, strict=True):
            images = self.gather(self.pixels, indices, Draws(*own), self.augment)
            yield Batch(images, self.labels[indices], indices, valid)

    def close(self):
        self.pixels = self.labels = None
