"""Half a cosine."""

import math
from dataclasses import dataclass

from fasttrain.checks import number, setting
from fasttrain.train.schedules import Schedule


@dataclass(frozen=True)
class Cosine(Schedule):
    """Rises linearly over the share `warmup` of the run, then falls to zero along a cosine (arXiv:1608.03983)."""

    warmup: float = setting(number(0, 1), 0.05, "share of the run in which the rate rises")

    def share(self, progress, epoch):
        if progress < self.warmup:
            return progress / self.warmup
        return (1 + math.cos(math.pi * (progress - self.warmup) / max(1 - self.warmup, 1e-9))) / 2
