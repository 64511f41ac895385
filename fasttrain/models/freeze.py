"""Parts of a network that training leaves as they are."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fasttrain.errors import ConfigError
from fasttrain.registry import nearest


class Still:
    """What a frozen BatchNorm is besides: it normalises by its running statistics in training too, and keeps them."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


@functools.cache
def still(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    """Returns the frozen form of a class of BatchNorms."""
    return type(f"Still{kind.__name__}", (Still, kind), {})


def freeze(model: nn.Module, patterns: str) -> None:
    """Excludes the parameters whose names match one of some patterns, joined by commas, from training.

    Inside of modules that are frozen whole BatchNorm keeps its statistics. ConfigError where a pattern matches nothing,
    or all is frozen.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns.split(","):
        matching = [name for name in parameters if fnmatch.fnmatchcase(name, pattern)]
        if not matching:
            raise ConfigError(f"freeze: {pattern!r} matches no parameter: did you mean "
                              f"{' or '.join(map(repr, likely(model, pattern)))}?")
        for name in matching:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(f"freeze: {patterns} leaves no parameter to train")
    for module in filter(frozen, list(model.modules())):
        for norm in norms(module):
            if not isinstance(norm, Still):
                norm.__class__ = still(type(norm))
            norm.train()


def likely(model: nn.Module, pattern: str) -> list[str]:
    """Returns the patterns that somebody who wrote one that matches nothing may have meant."""
    modules = [name for name, module in model.named_modules() if name and next(module.parameters(), None) is not None]
    places = [f"{name}.*" for name in modules]
    return (nearest(pattern, [*places, *(name for name, _ in model.named_parameters())])
            or [place for place in places if "." not in place[:-2]])


def frozen(module: nn.Module) -> bool:
    """Whether a module has parameters and all of them are frozen."""
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    return bool(wanted) and not any(wanted)


def trained_count(model: nn.Module) -> int:
    """Returns how many numbers training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def norms(model: nn.Module) -> Iterator[_BatchNorm]:
    """Yields the BatchNorms of a model."""
    return (module for module in model.modules() if isinstance(module, _BatchNorm))


def learning_norms(model: nn.Module) -> Iterator[_BatchNorm]:
    """Yields those whose statistics change in training."""
    return (norm for norm in norms(model) if not isinstance(norm, Still))
