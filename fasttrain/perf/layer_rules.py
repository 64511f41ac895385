"""What one call of a module or an operation computes and moves, by the rules of torchstat 0.0.7.

torchstat (https://github.com/Swall0w/torchstat) looks at modules alone. The rules of operations extend it to what a
network runs outside of them: residual adds and global pools.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fasttrain.models.heads import GlobalMaxPool2d


class Quantities(NamedTuple):
    """Arithmetic by two conventions (a multiply-add is two MAdd and one FLOP), and elements read and written."""

    madd: int
    flops: int
    read: int
    written: int


# torchstat counts nothing for these. The operations inside of them, if any, have rules of their own.
TRANSPARENT = (nn.AdaptiveAvgPool2d, nn.Dropout, nn.Flatten, nn.Identity, GlobalMaxPool2d)


@functools.singledispatch
def module_cost(module: nn.Module, i: int, o: int) -> Quantities | None:
    """Returns what a call with `i` elements in and `o` out costs; None for a type that has no rule."""
    return None


@module_cost.register
def _(module: nn.Conv2d, i, o):
    products = math.prod(module.kernel_size) * module.in_channels // module.groups
    bias = module.bias is not None
    return Quantities(o * (2 * products - 1 + bias), o * (products + bias), i + parameter_count(module), o)


@module_cost.register
def _(module: nn.BatchNorm2d, i, o):
    return Quantities(4 * i, 2 * i, i + 2 * module.num_features, i)


@module_cost.register
def _(module: nn.ReLU, i, o):
    return Quantities(i, i, i, i)


@module_cost.register
def _(module: nn.MaxPool2d, i, o):
    kernel = module.kernel_size
    area = kernel**2 if isinstance(kernel, int) else math.prod(kernel)
    return Quantities((area - 1) * o, i, i, o)


@module_cost.register
def _(module: nn.Linear, i, o):
    return Quantities(o * (2 * module.in_features - 1), o * module.in_features, i + parameter_count(module), o)


for transparent in TRANSPARENT:
    module_cost.register(transparent, lambda module, i, o: Quantities(0, 0, 0, 0))


def kind_of(module: nn.Module) -> str:
    """Returns the name of the class whose rule a module follows; its own where there is none."""
    ruled = (kind for kind in type(module).__mro__[:-1] if kind in module_cost.registry)
    return next(ruled, type(module)).__name__


def parameter_count(module: nn.Module) -> int:
    """Returns the number of a module's weights, those of its children included."""
    return sum(parameter.numel() for parameter in module.parameters())


ADD = "aten.add"
POOLS = ("aten.mean", "aten.amax", "aten.avg_pool2d")
COPIES = ("aten.clone", "aten._unsafe_view")  # what `reshape` does to a map that is no block of memory


def operation_name(function) -> str:
    """Returns the name of an ATen operator without its overload; "aten.add_" is an "aten.add" too."""
    return str(function.overloadpacket).rstrip("_")


def operation_cost(name: str, inputs: list[Tensor], output: Tensor) -> Quantities | None:
    """Returns what an operation outside of any counted module costs; None for one that has no rule.

    A global average takes as many operations as it has inputs (its adds and one division), a maximum one fewer, as
    torchstat counts the pools that it knows.
    """
    i, o = sum(tensor.numel() for tensor in inputs), output.numel()
    if name == ADD and len(inputs) == 2:
        return Quantities(o, o, i, o)
    if name in POOLS and inputs[0].ndim == 4 and output.shape[:2] == inputs[0].shape[:2]:
        return Quantities(i - o if name == "aten.amax" else i, i, i, o)
    return None


def computes(function, inputs: list[Tensor], output) -> bool:
    """Whether an operator computes with real numbers: no view, no copy, nothing made from nothing."""
    moves_only = function.is_view or operation_name(function) in COPIES
    return not moves_only and bool(inputs) and torch.is_tensor(output) and output.is_floating_point()
