"""Labels and indices of an epoch's batches, for loaders whose library delivers only the images."""

import numpy as np
import torch


def targets_on(device, labels, steps):
    """The (labels, indices) of each of `steps`, int64 [b] each, on `device`, copied there once for the whole epoch.

    labels: int64 [n] of the split. steps: a list of (indices, valid) as `BatchLoader.load` gets it.
    """
    if not steps:
        return []
    indices = np.concatenate([indices for indices, _ in steps])
    sizes = [len(indices) for indices, _ in steps]
    both = (torch.from_numpy(values).to(device).split(sizes) for values in (labels[indices], indices))
    return list(zip(*both, strict=True))
