"""Drops at fixed epochs."""

from dataclasses import dataclass

from fasttrain.checks import integer, number, setting
from fasttrain.train.schedules import Schedule


@dataclass(frozen=True)
class StepDecay(Schedule):
    """The peak, times `gamma` after every `period` epochs: torch's StepLR, as in the original study."""

    period: int = setting(integer(1), 30, "epochs between two drops")
    gamma: float = setting(number(0, 1), 0.1, "factor of each drop")

    def share(self, progress, epoch):
        return self.gamma ** (epoch // self.period)
