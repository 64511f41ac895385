"""What batches hold beside their images, for loaders whose library delivers only those."""

import numpy as np
import torch

from fasttrain.data.batch import LoaderSpec


def no_images(spec: LoaderSpec) -> torch.Tensor:
    """Returns the images of a step in which this rank has no sample: uint8 [0, S, S, 3] on the device."""
    size = spec.split.image_size
    return torch.empty((0, size, size, 3), dtype=torch.uint8, device=spec.device)


def targets_on(device: torch.device, labels: np.ndarray, steps: list) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Returns the (labels, indices) of each of `steps`, int64 [b] each, copied to `device` once for the whole epoch.

    labels: int64 [n] of the split. steps: a list of (indices, valid) as `BatchLoader.load` gets it.
    """
    if not steps:
        return []
    indices = np.concatenate([indices for indices, _ in steps])
    sizes = [len(indices) for indices, _ in steps]
    both = (torch.from_numpy(values).to(device).split(sizes) for values in (labels[indices], indices))
    return list(zip(*both, strict=True))
