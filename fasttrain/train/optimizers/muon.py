"""Muon: orthogonalised momentum for the convolutions inside a network, SGD for the rest."""

from dataclasses import dataclass
from typing import ClassVar

from fasttrain.checks import boolean, integer, number, setting
from fasttrain.train.optimizers import Optimizer

BELOW_ONE = 0.999999


@dataclass(frozen=True)
class Muon(Optimizer):
    """Muon for every convolution but the first; SGD for that one, the head, BatchNorm parameters and biases.

    All have Nesterov momentum and decoupled weight decay. `lr` is the rate of both, times `sgd_ratio` for SGD.
    Where bf16 is native, the iterations compute in it. Source: https://kellerjordan.github.io/posts/muon/, as in
    torch.optim.Muon; `renormalize` and the defaults are those of airbench94_muon,
    https://github.com/KellerJordan/cifar10-airbench.

    Rates that work: 0.06 to 0.24. Measured with resnet18_maxpool on ten classes of Tiny-ImageNet at 32 pixels, batch
    128, recipe `fast`: after four epochs, one seed, top-1 is 50.6 % at 0.06, 48.8 % at 0.12, 47.2 % at 0.24 and 40.2 %
    at 0.48. SGD has 39.0 % at 0.025, 41.6 % at 0.05, 39.4 % at 0.1 and 29.8 % at the recipe's rate, 0.2. Without
    `renormalize`, with momentum 0.95 and SGD's rate at 0.2: 42.2 % at 0.1, 37.6 % at 0.05, 29.2 % at 0.02.

    On two cores with bf16 a step takes 0.2 s of CPU time with 3 iterations, 0.3 with 5, beside SGD's 0.016; resnet18's
    forward and backward pass over 256 images of 64 pixels takes 0.84 s in the same measure.
    """

    averages: ClassVar[int] = 1
    weight_decay: float = setting(number(0), 0.01, "share of a weight that each step takes off, times its rate")
    decay_norm_and_bias: bool = setting(boolean, False, "whether BatchNorm parameters and biases decay too")
    momentum: float = setting(number(0, BELOW_ONE), 0.6, "of the convolutions")
    iterations: int = setting(integer(1, 10), 3, "of Newton and Schulz; 5 are more exact and cost more")
    renormalize: bool = setting(boolean, True, "before a step sets the norm of each kernel to the root of its outputs, "
                                "instead of weight decay")
    sgd_ratio: float = setting(number(0), 0.5, "the rate of the other parameters, as a multiple of lr")
    sgd_momentum: float = setting(number(0, BELOW_ONE), 0.85, "of the other parameters")

    def build(self, groups, lr):
        from fasttrain.train.optimizers.orthogonal import OrthogonalMomentum

        convolutions = [parameter for group in groups for parameter in group["params"] if parameter.ndim > 2]
        inside = set(convolutions[1:])
        body = {"momentum": self.momentum, "ratio": 1.0, "iterations": self.iterations,
                "renormalize": self.renormalize}
        rest = {"momentum": self.sgd_momentum, "ratio": self.sgd_ratio, "iterations": 0, "renormalize": False}
        split = []
        for group in groups:
            split.append({**group, **body, "params": [p for p in group["params"] if p in inside]})
            split.append({**group, **rest, "params": [p for p in group["params"] if p not in inside]})
        return OrthogonalMomentum([group for group in split if group["params"]], lr)
