"""The augmentations that a loader leaves: applied to its batches, in order, on the device where they lie."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from fasttrain.data.augment import Augmentation
from fasttrain.data.augment.kernels import torch_kernel
from fasttrain.keyed import torch_mirror


class Rest:
    """Applies `parts` to batches on `device`; each epoch's draws are made at once, when it begins."""

    def __init__(self, parts: Sequence[Augmentation], seed: int, device: Any):
        self.parts, self.seed, self.device = parts, seed, torch.device(device)
        self.in_torch = torch_kernel(self.chain) if self.device.type == "cuda" else self.chain

    def over(self, batches: Iterator, epoch: int, steps: list[tuple[np.ndarray, int]]) -> Iterator:
        """Yields the batches of the generator `batches` with their images augmented; `steps` as for a loader."""
        apply = self.in_torch if self.device.type == "cuda" else self.in_numba
        with contextlib.closing(batches):
            for batch, drawn in zip(batches, self.draws(epoch, steps), strict=True):
                yield batch._replace(images=apply(batch.images, drawn))

    def draws(self, epoch: int, steps: list[tuple[np.ndarray, int]]) -> list[list[tuple]]:
        """Returns, for each step, what its samples draw for each part: arrays, or int32 tensors on a GPU."""
        sizes = [len(indices) for indices, _ in steps]
        indices = np.concatenate([np.empty(0, np.int64), *(indices for indices, _ in steps)])
        keys = [part.keys(self.seed, epoch) for part in self.parts]
        if self.device.type == "cuda":
            indices = torch.from_numpy(indices).to(self.device)
            drawn = [[one.int().split(sizes) for one in part.draws(key, indices, torch_mirror.draw)]
                     for part, key in zip(self.parts, keys, strict=True)]
        else:
            ends = np.cumsum(sizes)[:-1]
            drawn = [[np.split(one, ends) for one in part.draws(key, indices)]
                     for part, key in zip(self.parts, keys, strict=True)]
        return [[tuple(one[step] for one in part) for part in drawn] for step in range(len(steps))]

    def in_numba(self, images: torch.Tensor, drawn: list[tuple]) -> torch.Tensor:
        """Augments a batch on the CPU in place."""
        for part, own in zip(self.parts, drawn, strict=True):
            part.in_numba(images.numpy(), *own)
        return images

    def chain(self, images: torch.Tensor, drawn: list[tuple]) -> torch.Tensor:
        """Augments a batch in torch."""
        for part, own in zip(self.parts, drawn, strict=True):
            images = part.in_torch(images, *own)
        return images
