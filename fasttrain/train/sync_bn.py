"""BatchNorm over the samples of all processes, on any device: torch's own SyncBatchNorm refuses a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fasttrain.processes import Processes

OVER = (0, 2, 3)  # the dimensions of [B, C, H, W] that a channel's mean is taken over


def synchronize_norms(model: nn.Module, processes: Processes) -> None:
    """Makes the BatchNorm2d of `model` take mean and variance over all processes in training; keys stay as they are."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__, module.processes = SyncBatchNorm2d, processes


class SyncBatchNorm2d(nn.BatchNorm2d):
    """[B, C, H, W] -> the same; every process needs samples. What `synchronize_norms` makes of a BatchNorm2d."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        out, mean, variance, count = Normalize.apply(x, self.weight, self.bias, self.eps, self.processes)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return out


class Normalize(torch.autograd.Function):
    """(x - mean) / std * weight + bias, with the mean and variance of all processes' x; returns these and their count.

    The variances are combined as by Chan, Golub and LeVeque (1979), which loses no digits. The gradients of weight and
    bias are this process's part.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, eps, processes):
        own = x.to(weight.dtype)
        variance, mean = torch.var_mean(own, OVER, correction=0)
        count = mean.new_full((1,), x.numel() // x.shape[1])
        found = processes.gather(torch.cat([mean, variance, count]))
        means, variances, counts = found.split([len(mean), len(mean), 1], 1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
        scale = torch.rsqrt(variance + eps)
        normal = (own - column(mean)) * column(scale)
        ctx.save_for_backward(normal, weight, scale, total)
        ctx.processes = processes
        ctx.mark_non_differentiable(mean, variance, total)
        return (normal * column(weight) + column(bias)).to(x.dtype), mean, variance, total

    @staticmethod
    def backward(ctx, upper, *_):
        normal, weight, scale, total = ctx.saved_tensors
        own = upper.to(weight.dtype)
        sums = torch.stack([own.sum(OVER), (own * normal).sum(OVER)])
        bias, slope = sums.clone()
        ctx.processes.sum(sums)
        mean, along = sums / total
        x = (own - column(mean) - normal * column(along)) * column(weight * scale)
        return x.to(upper.dtype), slope, bias, None, None


def column(values: Tensor) -> Tensor:
    """[C] -> [C, 1, 1]."""
    return values[:, None, None]
