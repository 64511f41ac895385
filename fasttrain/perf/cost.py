"""What training must compute and move: FLOPs from torch's counter, bytes from a model of its tensors' trips to memory.

Counted in passes over a tensor, reading or writing it once. A convolution or linear layer: its input and output in
each of forward, input gradient and weight gradient. BatchNorm: 3 forward (statistics, apply: read, write) and 5
backward (two reads for the sums, two reads and a write for the gradient). Eager adds 5 for a ReLU, 6 for a residual
add, and pool indices; kernels that fuse element-wise work add nothing for a ReLU and 2 for a residual add.
"""

import functools
from dataclasses import dataclass

import torch
from torch import nn

from fasttrain.models import build_model
from fasttrain.perf.summary import summarize

INDEX_BYTES = 8


@dataclass(frozen=True)
class Cost:
    """FLOPs and bytes of one image, forward and backward; `weight_bytes` are moved once a step, whatever the batch."""

    flops: int
    bytes: int
    weight_bytes: int

    def of_step(self, batch_size):
        """(FLOPs, bytes) of a training step."""
        return self.flops * batch_size, self.bytes * batch_size + self.weight_bytes


def step_cost(step, size=None):
    """The training Cost of a Step's variant in its precision, at `size` px or the step's own; compiled kernels fuse."""
    config, runtime = step.config, step.runtime
    return training_cost(config.arch, config.head, step.classes, size or step.size, config.stem, runtime.dtype,
                         fused=runtime.compile != "off")


@functools.cache
def training_cost(arch, head, num_classes, image_size, stem, dtype, fused):
    """The Cost of a variant with activations in `dtype`; fused: whether element-wise work is."""
    summary = summarize(arch, head, num_classes, image_size, stem)
    with torch.device("meta"):
        model = build_model(arch, head, num_classes, image_size, stem)
    elements, indices = activation_passes(model, image_size, fused)
    elements += (2 if fused else 6) * summary.residual_adds["elements"]
    pixels = 3 * image_size**2
    parameters = sum(p.numel() for p in model.parameters())
    first = summary.calls[0]  # nobody needs the gradient of the images
    return Cost(flops=3 * summary.flop_counter - 2 * first.flops,
                bytes=elements * dtype.itemsize + indices * INDEX_BYTES + pixels * (1 + dtype.itemsize),
                # read forward and backward, gradient written; SGD reads three fp32 tensors and writes two
                weight_bytes=parameters * (3 * dtype.itemsize + 5 * 4))


def activation_passes(model, image_size, fused):
    """(elements of activations that one image moves, integers that pooling moves), by the rules above."""
    moved, indices, hooks = [], [], []

    def note(module, inputs, output):
        i, o = inputs[0].numel(), output.numel()
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            moved.append((3 if moved else 2) * (i + o))
        elif isinstance(module, nn.BatchNorm2d):
            moved.append(8 * i)
        elif isinstance(module, nn.MaxPool2d):
            moved.append(2 * (i + o))
            indices.append(0 if fused else 2 * o)
        elif isinstance(module, nn.ReLU):
            moved.append(0 if fused else 5 * i)

    for module in model.modules():
        hooks.append(module.register_forward_hook(note))
    model.eval()(torch.empty(1, 3, image_size, image_size, device="meta"))
    for hook in hooks:
        hook.remove()
    return sum(moved), sum(indices)
