"""Momentum whose steps have all singular values near 1: what the optimizer `muon` does to a kernel's gradients."""

from __future__ import annotations

import collections
from typing import Any

import torch
from torch import Tensor

from fasttrain.runtime import native_bf16
from fasttrain.train.optimizers import trained

# of a x + b x^3 + c x^5, which repeated takes every singular value in (0, 1] to between 0.7 and 1.2
A, B, C = 3.4445, -4.7750, 2.0315
TINY = 1e-7  # added to the norm of an update, which may be zero


class OrthogonalMomentum(torch.optim.Optimizer):
    """SGD with Nesterov momentum and decoupled weight decay, for some groups with orthogonalised steps.

    groups: with `weight_decay`, `momentum`, `ratio` of their rate to lr, `iterations` of Newton and Schulz, 0 for
    plain SGD, and `renormalize`. Where that is false, steps of tall matrices are scaled up by the root of rows /
    columns. Nothing is read back to the host, so that a CUDA graph can hold a step.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: Tensor):
        super().__init__(groups, {"lr": lr})
        self.dtype = torch.bfloat16 if native_bf16(lr.device) else torch.float32
        for parameter in trained(self.param_groups):
            self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            weights = [parameter for parameter in group["params"] if parameter.grad is not None]
            if weights:
                self.change(weights, group)

    def change(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Changes the weights of a group by their gradients."""
        gradients = [weight.grad for weight in weights]
        momenta = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        steps = torch._foreach_add(gradients, momenta, alpha=group["momentum"])
        if group["iterations"]:
            steps = orthogonal(steps, group["iterations"], self.dtype, scaled=not group["renormalize"])
        rate = group["lr"] * group["ratio"]
        if group["renormalize"]:
            torch._foreach_div_(weights, torch._foreach_norm(weights))
            torch._foreach_mul_(weights, [len(weight) ** 0.5 for weight in weights])
        elif group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        torch._foreach_mul_(steps, rate)
        torch._foreach_sub_(weights, steps)


def orthogonal(kernels: list[Tensor], iterations: int, dtype: torch.dtype, scaled: bool) -> list[Tensor]:
    """Returns kernels [out, in, ...] as [out, in * ...] matrices whose singular values went to about 1, reshaped back.

    Equal shapes are one batch. scaled: tall ones are multiplied by the root of rows / columns.
    """
    alike = collections.defaultdict(list)
    for place, kernel in enumerate(kernels):
        alike[kernel.shape].append(place)
    found = list(kernels)
    for shape, places in alike.items():
        # channels last, as they mostly lie in memory: the order of the columns changes nothing
        matrices = torch.stack([kernels[place].movedim(1, -1).flatten(1) for place in places])
        rows, columns = matrices.shape[1:]
        if rows > columns:
            matrices = newton_schulz(matrices.mT, iterations, dtype).mT * ((rows / columns) ** 0.5 if scaled else 1.0)
        else:
            matrices = newton_schulz(matrices, iterations, dtype)
        for place, matrix in zip(places, matrices.unbind(), strict=True):
            found[place] = matrix.unflatten(1, (*shape[2:], shape[1])).movedim(-1, 1)
    return found


def newton_schulz(matrices: Tensor, iterations: int, dtype: torch.dtype) -> Tensor:
    """Returns float32 [K, rows, columns], rows <= columns: a few Newton-Schulz iterations of order five on each.

    In float32 they run on the small matrix X X^T, and X is multiplied once by what they come to: half the work for
    a kernel. The eigenvalues of that product are squares, for which bfloat16 is too coarse.
    """
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    x = (matrices / (norms + TINY)).to(dtype)
    if dtype == torch.float32:
        return product(x @ x.mT, iterations) @ x
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x.float()


def product(gram: Tensor, iterations: int) -> Tensor:
    """Returns the product of the factors a + b G + c G^2 of all iterations, for the Gram matrices [K, rows, rows]."""
    whole = None
    for iteration in range(iterations):
        factor = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal(dim1=1, dim2=2).add_(A)
        whole = factor if whole is None else factor @ whole
        if iteration + 1 < iterations:
            gram = factor @ gram @ factor
    return whole
