"""Stochastic gradient descent with momentum."""

from dataclasses import dataclass

from fasttrain.checks import boolean, number, setting
from fasttrain.errors import ConfigError
from fasttrain.train.optimizers import Optimizer, trained


@dataclass(frozen=True)
class Sgd(Optimizer):
    """torch's SGD, one fused kernel a step."""

    momentum: float = setting(number(0, 1), 0.9)
    nesterov: bool = setting(boolean, False)

    def __post_init__(self):
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ConfigError("optimizer.nesterov: needs optimizer.momentum above 0")

    @property
    def averages(self):
        return 1 if self.momentum else 0

    def build(self, groups, lr):
        import torch

        optimizer = torch.optim.SGD(groups, lr=lr, momentum=self.momentum, nesterov=self.nesterov, fused=True)
        if self.momentum:  # torch would leave it uninitialised where the first step of fp16 overflows
            for parameter in trained(groups):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
