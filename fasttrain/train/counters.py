"""BatchNorm's counters of steps, kept off the step and written when saving.

torch adds 1 to `num_batches_tracked` in every BatchNorm at every step: 20 launches for resnet18, 53 for resnet50, and
nobody reads them unless `momentum` is None. A state dict still holds them, as torchvision's does.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from fasttrain.models.freeze import norms

COUNTER, AFTER = "num_batches_tracked", "running_var"


def drop_counters(model: nn.Module) -> None:
    """Makes the BatchNorms of `model` count no more steps."""
    for norm in norms(model):
        if norm.momentum is not None:
            norm.num_batches_tracked = None


def with_counters(state: dict[str, torch.Tensor], steps: int) -> dict[str, torch.Tensor]:
    """Returns a copy of a model's state dict in which each dropped counter is back, behind its variance, as `steps`."""
    full = type(state)()
    full._metadata = state._metadata
    for name, tensor in state.items():
        full[name] = tensor
        prefix, _, own = name.rpartition(".")
        if own == AFTER:
            full.setdefault(f"{prefix}.{COUNTER}" if prefix else COUNTER, torch.tensor(steps))
    return full


def load_with_counters(model: nn.Module, state: dict[str, torch.Tensor]) -> int:
    """Loads a full state dict into a model whose counters are dropped; returns what they counted, 0 without any."""
    own, kept, counted = model.state_dict(), OrderedDict(state), [0]
    kept._metadata = own._metadata  # without it torch takes a missing counter for an older format's
    for name in state.keys() - own.keys():
        if name.endswith(COUNTER):
            counted.append(int(kept.pop(name)))
    model.load_state_dict(kept)
    return max(counted)
