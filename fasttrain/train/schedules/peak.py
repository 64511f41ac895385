"""A triangle."""

from dataclasses import dataclass

from fasttrain.checks import number, setting
from fasttrain.train.schedules import Schedule


@dataclass(frozen=True)
class Peak(Schedule):
    """Rises linearly over the share `warmup` of the run, then falls linearly to zero (airbench, hlb-CIFAR10)."""

    warmup: float = setting(number(0, 1), 0.2, "share of the run in which the rate rises")

    def share(self, progress, epoch):
        if progress < self.warmup:
            return progress / self.warmup
        return (1 - progress) / max(1 - self.warmup, 1e-9)
