"""What the processes of `tests.ranks` find done when they are forked: what takes torch and numba seconds at first."""

import torch

import fasttrain.data.augment.fused_numba
import fasttrain.data.loaders.resident
import fasttrain.processes
import fasttrain.train.trainer  # noqa: F401

torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.1), fused=True).step()
