"""The weights that a run starts from: a state dict as torchvision has them, safetensors, or a run of fasttrain."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fasttrain.environment import optional
from fasttrain.errors import ConfigError, DataError
from fasttrain.train.checkpoint import read_checkpoint
from fasttrain.train.counters import COUNTER

INSIDE = ("state_dict", "model_state_dict", "model")  # keys under which training programs keep a state dict
WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before a name
BACKBONE = "net."  # what a network of one's own puts before it
LEAST = 0.5  # of a network's matrices and kernels that fit: with fewer, the weights are those of another network
SHOWN = 6  # names in a line


class Fit(NamedTuple):
    """How weights fit a network. taken: tensors by the network's names. other_shape, missing: names of the network's
    that it has to draw; unknown: names that only the weights have."""

    taken: dict[str, Tensor]
    other_shape: list[str]
    missing: list[str]
    unknown: list[str]

    def __str__(self):
        total = len(self.taken) + len(self.other_shape) + len(self.missing)
        parts = [f"{len(self.taken)} of {total} tensors"]
        drawn = [f"{shown(names)} ({why})" for why, names in (("another shape", self.other_shape),
                                                              ("missing", self.missing)) if names]
        parts += [f"drawn anew: {', '.join(drawn)}"] if drawn else []
        parts += [f"not in the network: {shown(self.unknown)}"] if self.unknown else []
        return "; ".join(parts)


def load_weights(model: nn.Module, path: str) -> str:
    """Puts the weights at `path` into a network where they fit; returns one line that names what did not.

    Raises DataError where nothing can be read there, ConfigError for the weights of another network.
    """
    own, weights = model.state_dict(), read_weights(path)
    fit = fitted(weights, own)
    kernels = [name for name, tensor in own.items() if tensor.ndim > 1]
    fitting = sum(name in fit.taken for name in kernels)
    if fitting < LEAST * len(kernels):
        raise ConfigError(f"weights {path}: of another network: {fitting} of this one's {len(kernels)} kernels and "
                          "matrices are in it with the same name and shape")
    for name, tensor in fit.taken.items():
        own[name].copy_(tensor)
    return f"weights {Path(path).name}: {fit}"


def fitted(weights: dict[str, Tensor], own: dict[str, Tensor]) -> Fit:
    """Returns how weights fit a network's own. BatchNorm's counters are left to the network."""
    found = {own_name(name, own): tensor for name, tensor in weights.items() if not name.endswith(COUNTER)}
    wanted = [name for name in own if not name.endswith(COUNTER)]
    taken = {name: found[name] for name in wanted if name in found and found[name].shape == own[name].shape}
    return Fit(taken, [name for name in wanted if name in found and name not in taken],
               [name for name in wanted if name not in found], sorted(name for name in found if name not in own))


def own_name(name: str, own: Iterable[str]) -> str:
    """Returns what a network calls a tensor of that name; without wrappers, the name itself where it has none."""
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return next((known for known in (name, BACKBONE + name, name.removeprefix(BACKBONE)) if known in own), name)


def read_weights(path: str) -> dict[str, Tensor]:
    """Returns tensors by name, on the CPU, from a file or a run folder; of a run with averaged weights those.

    Runs no code from it. DataError in one line where it holds none, or cannot be read.
    """
    if Path(path).is_dir():
        return of_run(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"weights {path}: {error.strerror or error}") from None
    if path.endswith(".safetensors"):
        unpack = optional("safetensors.torch", f"weights {path}").load
    else:
        def unpack(data):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    try:
        state = unpack(data)
    except Exception:  # bytes that are no weights fail in as many ways as there are bytes
        raise DataError(f"weights {path}: damaged, or no file of weights alone: needs what "
                        "torch.save(net.state_dict(), FILE) writes, or safetensors") from None
    return of_run(path) if isinstance(state, dict) and "format" in state else tensors(state, path)


def of_run(path: str) -> dict[str, Tensor]:
    """Returns the weights of a run folder's best checkpoint, or of a checkpoint file."""
    state, _ = read_checkpoint(path)
    return state.get("ema", state["model"])


def tensors(state: Any, path: str) -> dict[str, Tensor]:
    """Returns the tensors of a state dict, also of one inside of a training program's checkpoint."""
    while isinstance(state, dict):
        if found := {name: value for name, value in state.items() if isinstance(value, Tensor)}:
            return found
        state = next((state[key] for key in INSIDE if key in state), None)
    raise DataError(f"weights {path}: holds no tensors by name")


def shown(names: list[str]) -> str:
    """Returns some of the layers that tensors belong to."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    return ", ".join(layers[:SHOWN]) + (f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else "")
