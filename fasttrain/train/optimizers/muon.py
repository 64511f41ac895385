"""Muon: orthogonalised momentum for the convolutions inside a network, SGD for the rest."""

from dataclasses import dataclass
from typing import ClassVar

from fasttrain.checks import boolean, integer, number, setting
from fasttrain.train.optimizers import Optimizer, parameters

BELOW_ONE = 0.999999


@dataclass(frozen=True)
class Muon(Optimizer):
    """Muon for every convolution but the first; SGD for that one, the head, BatchNorm parameters and biases.

    All have Nesterov momentum and decoupled weight decay. `lr` is the rate of both, times `sgd_ratio` for SGD.
    Where bf16 is native, the iterations compute in it. Source: https://kellerjordan.github.io/posts/muon/, as in
    torch.optim.Muon; `renormalize` comes from airbench94_muon, https://github.com/KellerJordan/cifar10-airbench.
    """

    averages: ClassVar[int] = 1
    weight_decay: float = setting(number(0), 0.01, "share of a weight that each step takes off, times its rate")
    decay_norm_and_bias: bool = setting(boolean, False, "whether BatchNorm parameters and biases decay too")
    momentum: float = setting(number(0, BELOW_ONE), 0.95, "of the convolutions")
    iterations: int = setting(integer(1, 10), 5, "of Newton and Schulz; 3 cost less and are less exact")
    renormalize: bool = setting(boolean, False, "before a step sets the norm of each kernel to the root of its outputs")
    sgd_ratio: float = setting(number(0), 1.0, "the rate of the other parameters, as a multiple of lr")
    sgd_momentum: float = setting(number(0, BELOW_ONE), 0.9, "of the other parameters")

    def build(self, groups, lr):
        from fasttrain.train.optimizers.orthogonal import OrthogonalMomentum

        convolutions = [parameter for parameter in parameters(groups) if parameter.ndim > 2]
        inside = set(convolutions[1:])
        body = {"momentum": self.momentum, "ratio": 1.0, "iterations": self.iterations,
                "renormalize": self.renormalize}
        rest = {"momentum": self.sgd_momentum, "ratio": self.sgd_ratio, "iterations": 0, "renormalize": False}
        split = []
        for group in groups:
            split.append({**group, **body, "params": [p for p in group["params"] if p in inside]})
            split.append({**group, **rest, "params": [p for p in group["params"] if p not in inside]})
        return OrthogonalMomentum([group for group in split if group["params"]], lr)
