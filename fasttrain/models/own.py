"""Builds networks of one's own from references, see `fasttrain.references`."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from fasttrain.errors import ConfigError
from fasttrain.models.timm_network import timm_factory
from fasttrain.references import LIVE, OWN, TIMM, is_reference
from fasttrain.registry import HEADS

given: dict[str, nn.Module | Callable[..., nn.Module]] = {}  # by name, what this process gave to `run(model=...)`


class WithHead(nn.Module):
    """A network that maps [B, 3, H, W] to features [B, C, h, w], and a head of `heads` after it."""

    def __init__(self, net: nn.Module, head: type, channels: int, num_classes: int):
        super().__init__()
        self.net, self.head = net, head
        for name, module in head.build(channels, num_classes).items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.head.forward(self, self.net(x))


def build_own(reference: str, head: str, num_classes: int, image_size: int) -> nn.Module:
    """Returns the network of a factory with a head. head: the name of one, or OWN where it returns logits itself.

    The factory gets the number of classes if it has a parameter `num_classes`. ConfigError in one line for one that is
    missing or fails, or whose network does not fit the head.
    """
    if reference.startswith(f"{TIMM}:"):
        make = timm_factory(reference, num_classes if head == OWN else 0)
        with own_errors(reference, "fails"):
            net = make()
    else:
        net = call_factory(reference, num_classes)
    if not isinstance(net, nn.Module):
        raise ConfigError(f"arch {reference}: returns {type(net).__name__}, not a torch.nn.Module")
    if next(net.parameters(), None) is None:
        raise ConfigError(f"arch {reference}: has no parameters to train")
    with own_errors(reference, f"cannot take images of {image_size} px"):
        shape = output_shape(net, image_size)
    if head == OWN:
        if shape != (2, num_classes):
            raise ConfigError(f"arch {reference}: returns {shown(shape)}, and --head own needs logits "
                              f"[B, {num_classes}]")
        return net
    if len(shape) != 4 or shape[-1] == getattr(net, "num_features", None) != shape[1]:  # such as Swin's [B, H, W, C]
        raise ConfigError(f"arch {reference}: returns {shown(shape)}, no feature map [B, C, H, W] for --head {head}; "
                          "a network that returns logits takes --head own")
    return WithHead(net, HEADS.load(head), shape[1], num_classes)


def give(model: nn.Module | Callable[..., nn.Module]) -> str:
    """Keeps a network, or a factory, for as long as the process lives; returns the reference to it."""
    if not callable(model):
        raise ConfigError(f"model: {type(model).__name__} is neither a torch.nn.Module nor a factory of one")
    name = type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", "factory")
    name = name if name.isidentifier() else "factory"  # such as <lambda>
    given[name] = model
    return f"{LIVE}:{name}"


def call_factory(reference: str, num_classes: int) -> nn.Module:
    """Returns what the factory of a reference returns."""
    factory = load_factory(reference)
    if isinstance(factory, nn.Module):
        return copied(factory)
    with own_errors(reference, "fails"):
        named = "num_classes" in inspect.signature(factory).parameters
        return factory(num_classes=num_classes) if named else factory()


def copied(net: nn.Module) -> nn.Module:
    """Returns a copy of a network; under a device context one that lives there, without values if that is `meta`."""
    device = torch.get_default_device()
    with torch.device("cpu"):
        return copy.deepcopy(net).to(device) if device.type == "meta" else copy.deepcopy(net)


def output_shape(net: nn.Module, image_size: int) -> tuple[int, ...]:
    """Returns the shape of what a network makes of two images; (), unless that is one tensor."""
    images = torch.zeros(2, 3, image_size, image_size, device=next(net.parameters()).device)
    net.eval()
    with torch.no_grad():
        output = net(images)
    net.train()
    return tuple(output.shape) if torch.is_tensor(output) else ()


def shown(shape: tuple[int, ...]) -> str:
    return f"[B, {', '.join(map(str, shape[1:]))}]" if len(shape) > 1 else "no batch of tensors"


def load_factory(reference: str) -> Callable[..., nn.Module]:
    """Returns the factory that a reference names."""
    place, _, name = reference.rpartition(":")
    if place == LIVE:
        if name not in given:
            raise ConfigError(f"arch {reference}: was given to run(model=...) by another process: call "
                              "run(config, model=...) with it, or name its factory with --arch FILE.py:factory")
        return given[name]
    factory = getattr(load_module(reference), name, None)
    if not callable(factory):
        raise ConfigError(f"arch {reference}: {place} has no function or class {name!r}")
    return factory


def load_module(reference: str) -> ModuleType:
    """Imports what is before the colon: a file by its path, else a module."""
    place = reference.rpartition(":")[0]
    if place.endswith(".py"):
        try:
            source = Path(place).read_bytes()
        except OSError as error:
            raise ConfigError(f"arch {reference}: {error.strerror}") from None
        return load_file(reference, place, hashlib.sha256(source).hexdigest())
    with own_errors(reference, "cannot be imported"):
        return importlib.import_module(place)


@functools.lru_cache
def load_file(reference: str, place: str, digest: str) -> ModuleType:
    """Runs a file as a module. digest: of its content: a file that changes is another module."""
    name = f"fasttrain_own_{digest[:16]}"
    spec = importlib.util.spec_from_file_location(name, place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickles look for it
    with own_errors(reference, "cannot be imported"):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def own_errors(reference: str, what: str) -> Iterator[None]:
    """Turns whatever the code of another raises into one line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0][:200]
        raise ConfigError(f"arch {reference}: {what}: {type(error).__name__}: {reason}") from None


def fingerprint(arch: str) -> str | None:
    """Returns the sha256 of the file that holds the factory; None for others' networks, or for no file."""
    if not is_reference(arch) or arch.startswith((f"{LIVE}:", f"{TIMM}:")):
        return None
    file = getattr(load_module(arch), "__file__", None)
    return file and hashlib.sha256(Path(file).read_bytes()).hexdigest()
