"""One flat tensor for all that processes tell each other in a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fasttrain.models.freeze import learning_norms
from fasttrain.processes import Processes

ALIGNED = 16  # elements, 64 bytes: fused kernels then read whole vectors


class Bucket:
    """[gradients | running statistics | numbers]: of a slice, then of a process's slices, then of the whole batch.

    Slices are added along the binary tree over all of them: what a process adds up is one subtree of it.

    Attributes:
        flat: the tensor, in the parameters' dtype. rows: partial sums that wait for their other half.
        gradients, averages: views of it, shaped and laid out as the parameters and as BatchNorm's running statistics.
        numbers: view, [count]. share: scalar, one over the number of slices that are not empty.
    """

    def __init__(self, model: nn.Module, count: int, own_slices: int):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.statistics = [tensor for norm in learning_norms(model)
                           for tensor in (norm.running_mean, norm.running_var) if tensor is not None]
        first = self.parameters[0]
        like = [*self.parameters, *self.statistics, first.new_empty(count)]
        starts = offsets([tensor.numel() for tensor in like])
        self.flat = first.detach().new_zeros(starts[-1])
        self.rows = self.flat.new_zeros((own_slices - 1).bit_length(), len(self.flat))
        views = [self.flat.as_strided(tensor.shape, tensor.stride(), start)
                 for tensor, start in zip(like, starts, strict=False)]
        self.gradients = views[:len(self.parameters)]
        self.averages, self.numbers = views[len(self.parameters):-1], views[-1]
        self.share = self.flat.new_zeros(())
        self.kept = [tensor.clone() for tensor in self.statistics]

    @torch.no_grad()
    def fill(self, numbers: Tensor) -> None:
        """Takes in a slice: the gradients, the statistics as its forward pass left them, and its numbers."""
        used = [(view, parameter.grad) for view, parameter in zip(self.gradients, self.parameters, strict=True)
                if parameter.grad is not None]
        if len(used) < len(self.gradients):
            self.flat.zero_()
        copy_all(*map(list, zip(*used, strict=True)))
        copy_all(self.averages, self.statistics)
        self.numbers.copy_(numbers)

    @torch.no_grad()
    def fill_nothing(self, numbers: Tensor) -> None:
        """Takes in a slice without samples."""
        self.flat.zero_()
        self.numbers.copy_(numbers)

    def add(self, number: int, slices: int) -> None:
        """Adds slice `number` of a process's `slices`, with which the bucket is filled, to those before it."""
        level = 0
        while number >> level & 1:
            self.flat += self.rows[level]
            level += 1
        if number + 1 < slices:
            self.rows[level].copy_(self.flat)

    def exchange(self, processes: Processes, in_tree: bool) -> None:
        """Adds up the processes' sums: along the tree, or in the order that is fastest."""
        if processes.size == 1:
            return
        if not in_tree:
            processes.sum(self.flat)
            return
        rows = processes.gather(self.flat)
        while len(rows) > 1:
            rows = rows[::2] + rows[1::2]
        self.flat.copy_(rows[0])

    @torch.no_grad()
    def hand_over(self) -> None:
        """Gives the parameters their gradients, views of the bucket, and BatchNorm the mean of the new statistics."""
        for parameter, view in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = view
        if self.statistics:
            torch._foreach_mul_(self.averages, self.share)
            torch._foreach_copy_(self.statistics, self.averages)

    def keep_statistics(self) -> None:
        """Remembers the statistics that each slice of a step starts from."""
        copy_all(self.kept, self.statistics)

    def restore_statistics(self) -> None:
        """Puts them back."""
        copy_all(self.statistics, self.kept)


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, sources)


def offsets(sizes: Sequence[int]) -> list[int]:
    """Returns where each of some tensors of these sizes begins in a flat one, aligned, and at last the whole size."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + -(-size // ALIGNED) * ALIGNED)
    return starts
