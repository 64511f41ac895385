"""What training must compute and move: FLOPs from torch's counter, bytes from a model of its tensors' trips to memory.

Counted in passes over a tensor, reading or writing it once. A convolution or linear layer: its input and output in
each of forward, input gradient and weight gradient. BatchNorm: 3 forward (statistics, apply: read, write) and 5
backward (two reads for the sums, two reads and a write for the gradient). A pool: its input and output, forward and
backward. Eager adds 5 for a ReLU or dropout, 6 for a residual add, and the indices of a maximum's window; kernels that
fuse element-wise work add nothing for a ReLU or dropout and 2 for a residual add.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import torch
from torch.optim import Optimizer

from fasttrain.perf.layer_rules import ADD, POOLS
from fasttrain.perf.summary import Row, Summary, summarize
from fasttrain.train.step import Step

INDEX_BYTES = 8
# what `Row.kind` calls them
PRODUCTS, ELEMENTWISE, WINDOW = ("Conv2d", "Linear"), ("ReLU", "Dropout"), "MaxPool2d"


@dataclasses.dataclass(frozen=True)
class Cost:
    """FLOPs and bytes of one image, forward and backward, without what `not_counted` names (see `Summary`).

    weight_bytes: moved once a step, whatever the batch, for weights, gradients and the optimizer's state.
    """

    flops: int
    bytes: int
    weight_bytes: int
    not_counted: tuple[str, ...] = ()

    def of_step(self, batch_size: int) -> tuple[int, int]:
        """Returns the FLOPs and bytes of a training step."""
        return self.flops * batch_size, self.bytes * batch_size + self.weight_bytes


def step_cost(step: Step, size: int | None = None) -> Cost:
    """Returns the training Cost of a Step's variant in its precision, at `size` px or the step's own.

    The state of a lazy optimizer counts after its first step.
    """
    config, runtime = step.config, step.runtime
    frozen = frozenset(name.rpartition(".")[0] for name, parameter in step.model.named_parameters()
                       if name.endswith("weight") and not parameter.requires_grad)
    cost = training_cost(config.arch, config.head, step.classes, size or step.size, config.stem, runtime.dtype,
                         fused=runtime.compile != "off", frozen=frozen)
    return dataclasses.replace(cost, weight_bytes=cost.weight_bytes + optimizer_bytes(step.optimizer))


@functools.cache
def training_cost(arch: str, head: str, num_classes: int, image_size: int, stem: str, dtype: torch.dtype,
                  fused: bool, frozen: frozenset[str] = frozenset()) -> Cost:
    """Returns the Cost of a variant without its optimizer. dtype: of activations; fused: see the rules above.

    frozen: names of the layers whose weights are not trained.
    """
    return cost_of(summarize(arch, head, num_classes, image_size, stem), image_size, dtype, fused, frozen)


def cost_of(summary: Summary, image_size: int, dtype: torch.dtype, fused: bool,
            frozen: frozenset[str] = frozenset()) -> Cost:
    """Returns the Cost of the network of a Summary at that image size, without its optimizer. frozen: see above."""
    pixels = 3 * image_size**2
    elements = sum(passes(call, fused) for call in summary.calls)
    flops = 3 * summary.flop_counter
    for call, gradients in needless(summary.calls, frozen):
        elements -= gradients * elements_of(call)
        flops -= gradients * 2 * multiply_adds(call)
    indices = 0 if fused else sum(2 * math.prod(call.output_shape) for call in summary.calls if call.kind == WINDOW)
    return Cost(flops=flops, bytes=elements * dtype.itemsize + indices * INDEX_BYTES + pixels * (1 + dtype.itemsize),
                # read forward and backward, gradient written
                weight_bytes=(3 * summary.parameters - sum(row.params for row in summary.rows if row.name in frozen))
                * dtype.itemsize,
                not_counted=tuple(summary.not_counted))


def needless(calls: list[Row], frozen: frozenset[str]) -> Iterator[tuple[Row, int]]:
    """Yields each product with how many of its two gradients nobody needs, those of its weights and of its input.

    Nobody needs that of frozen weights, nor that of an input with nothing to train before it, such as the images.
    """
    trained = False
    for call in calls:
        if call.kind in PRODUCTS:
            yield call, (call.name in frozen) + (not trained)
        trained |= call.params > 0 and call.name not in frozen


def passes(call: Row, fused: bool) -> int:
    """Returns the elements that a call moves, forward and backward, by the rules above; 0 where none applies."""
    if call.kind in PRODUCTS:
        return 3 * elements_of(call)
    if call.kind == WINDOW or call.kind in POOLS:
        return 2 * elements_of(call)
    inputs = math.prod(call.input_shape)
    return inputs * {"BatchNorm2d": 8, ADD: 2 if fused else 6, **dict.fromkeys(ELEMENTWISE, 0 if fused else 5)}.get(
        call.kind, 0)


def multiply_adds(call: Row) -> int:
    """Returns the multiply-adds of a product, each one MAdd more than FLOPs, but for the first of a sum; no bias."""
    return call.madd - call.flops + math.prod(call.output_shape)


def elements_of(call: Row) -> int:
    """Returns the elements of a call's input and output together."""
    return math.prod(call.input_shape) + math.prod(call.output_shape)


def weight_share(step: Step, cost: Cost) -> float:
    """Returns the share of a step's bytes that weights, gradients and a fused optimizer take, whatever the batch."""
    own = cost.weight_bytes - optimizer_bytes(step.optimizer) + optimizer_bytes(step.optimizer, fused=True)
    return own / (cost.bytes * step.config.batch_size + own)


def optimizer_bytes(optimizer: Optimizer, fused: bool = False) -> int:
    """Returns the bytes that one step of an optimizer moves, by the state that it holds. fused: if it were.

    A fused kernel reads gradient, weight and state and writes weight and state. Otherwise each tensor of the state is
    a pass of its own that reads the gradient again, and the one over the weights reads all of them once more.
    """
    moved = 0
    for group in optimizer.param_groups:
        for weight in filter(lambda parameter: parameter.requires_grad, group["params"]):
            values = optimizer.state.get(weight, {}).values()
            state = [value for value in values if torch.is_tensor(value) and value.shape == weight.shape]
            held = sum(tensor.nbytes for tensor in state)
            if fused or group.get("fused"):
                moved += 3 * weight.nbytes + 2 * held
            else:
                moved += 2 * weight.nbytes + 2 * held + weight.nbytes * len(state) + max(held, weight.nbytes)
    return moved
