"""Finds networks of timm, an optional package, by references such as `timm:resnet18`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

import torch
from torch import nn

from fasttrain.environment import PIP, optional
from fasttrain.errors import ConfigError
from fasttrain.registry import nearest

BUILDS = "https://download.pytorch.org/whl"  # where each build of torch has packages that fit


def timm_factory(reference: str, num_classes: int) -> Callable[[], nn.Module]:
    """Returns what makes a network of timm, its weights drawn. num_classes: 0 for one without pool and classifier.

    ConfigError for a name that timm does not know, or where timm cannot be imported.
    """
    timm, name = load_timm(reference), reference.partition(":")[2]
    if not timm.is_model(name):
        near = nearest(name, timm.list_models())
        hint = f"did you mean timm:{' or timm:'.join(near)}?" if near else "timm.list_models() names all"
        raise ConfigError(f"arch {reference}: timm has no such network: {hint}")
    features = {} if num_classes else {"global_pool": ""}
    return functools.partial(timm.create_model, name, pretrained=False, num_classes=num_classes, **features)


def load_timm(reference: str) -> ModuleType:
    """Returns the package; ConfigError with the command that installs it beside the torch that is there.

    timm needs torchvision, and that the build of it that fits torch's: beside a torch for CPUs not the one for CUDA.
    """
    build = torch.__version__.partition("+")[2]
    index = f" --extra-index-url {BUILDS}/{build}" if build else ""
    return optional("timm", f"arch {reference}", f"{PIP} --upgrade timm torchvision torch=={torch.__version__}{index}")
