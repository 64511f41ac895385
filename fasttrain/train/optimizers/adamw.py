"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

from dataclasses import dataclass
from typing import ClassVar

from fasttrain.checks import boolean, number, setting
from fasttrain.train.optimizers import Optimizer, trained

BELOW_ONE = 0.999999


@dataclass(frozen=True)
class AdamW(Optimizer):
    """torch's AdamW, one fused kernel a step, with torch's defaults; BatchNorm parameters and biases do not decay."""

    averages: ClassVar[int] = 2
    weight_decay: float = setting(number(0), 0.01, "share of a weight that each step takes off, times the rate")
    decay_norm_and_bias: bool = setting(boolean, False, "whether BatchNorm parameters and biases decay too")
    beta1: float = setting(number(0, BELOW_ONE), 0.9, "decay of the average of gradients")
    beta2: float = setting(number(0, BELOW_ONE), 0.999, "decay of the average of squared gradients")
    eps: float = setting(number(0, above=True), 1e-8, "added to the root of the latter")

    def build(self, groups, lr):
        import torch

        optimizer = torch.optim.AdamW(groups, lr=lr, betas=(self.beta1, self.beta2), eps=self.eps, fused=True,
                                      capturable=lr.is_cuda)
        for parameter in trained(groups):
            optimizer.state[parameter].update(
                step=torch.zeros((), dtype=torch.float32, device=parameter.device),
                exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
        return optimizer
