"""What a training step does, counted in a trace and in the network: no clock, so a busy machine changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import nn

from fasttrain.train.step import Step

PRODUCTS = ("aten::convolution", "aten::mm", "aten::addmm", "aten::bmm")
COPIES = {"aten::clone": (), "aten::copy_": (), "aten::to": ("aten::_to_copy",), "aten::contiguous": ("aten::clone",)}
READ, OPTIMIZER, BACKWARD = "aten::_local_scalar_dense", "Optimizer.step", "autograd::"


def counts(events: Sequence, step: Step, images: int, steps: int) -> dict[str, float]:
    """Returns what the `events` of a trace of `steps` steps on `images` images each hold, a step, and the network.

    reads: values that the host takes from a tensor. copies: of activations in the forward pass. products, and
    fp32_products: convolutions and matrix products. optimizer_calls: operators that the optimizer starts. tensors: of
    parameters. convolutions, and nchw: those whose weights are not channels last.
    """
    kernels = [m.weight for m in step.model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    weights = {tuple(weight.shape) for weight in step.model.parameters()}
    products = [dtype_of(event) for event in events if event.name in PRODUCTS]
    found = {
        "reads": sum(event.name == READ and not inside(event, OPTIMIZER) for event in events),
        "copies": sum(copies_activation(event, images, weights) for event in events),
        "products": len(products),
        "fp32_products": products.count("float"),
        "optimizer_calls": sum(is_call(event) and inside(event, OPTIMIZER) for event in events),
    }
    return {**{name: count / steps for name, count in found.items()},
            "tensors": sum(1 for _ in step.model.parameters()), "convolutions": len(kernels),
            "nchw": sum(not kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)}


def is_operator(event) -> bool:
    """Returns whether an event of a trace is an operator."""
    return event is not None and event.name.startswith("aten::")


def is_call(event) -> bool:
    """Returns whether an event of a trace is an operator that the program started, not another operator."""
    return is_operator(event) and not is_operator(event.cpu_parent)


def inside(event, name: str) -> bool:
    """Returns whether an event, or one that it is part of, has a name that begins so."""
    while event is not None:
        if event.name.startswith(name):
            return True
        event = event.cpu_parent
    return False


def copies_activation(event, images: int, weights: set[tuple[int, ...]]) -> bool:
    """Returns whether the program's own call copies a [images, C, H, W] tensor in the forward pass.

    A tensor of the shape of a weight is none: there may be as many kernels as images.
    """
    if event.name not in COPIES or not is_call(event) or inside(event, BACKWARD):
        return False
    shape = event.input_shapes[0] if event.input_shapes else ()
    copying = COPIES[event.name]
    return (len(shape) == 4 and shape[0] == images and tuple(shape) not in weights
            and (not copying or any(child.name in copying for child in event.cpu_children)))


def dtype_of(event) -> str:
    """Returns the type of an operator's first input; "" where the trace does not tell."""
    return (getattr(event, "input_dtypes", None) or [""])[0]


def compilations() -> int:
    """Returns how many graphs torch.compile has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return dynamo.counters["stats"]["unique_graphs"] if dynamo else 0
