"""Finds out, at the end of an epoch, that training diverged, and goes back to the end of the epoch before."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.utils import get_total_norm

from fasttrain.train.saver import copied
from fasttrain.train.step import Step

MOST = 3  # times that a run goes back
FACTOR = 0.5  # by which the learning rate falls each time
# What GradScaler's first scale for fp16, 2**16, comes to after 30 gradients in a row that are not finite. Fewer are no
# divergence: it skips their steps, to find a scale.
SMALLEST_SCALE = 2.0**-14


class Guard:
    """Keeps the state of a step as it was at the end of the last good epoch, on its device.

    good: that state, as `Step.state_dict` returns it; None where there is none to go back to. rollbacks: how often
    the run went back to one.

    All processes of a run hold equal losses, weights, statistics and averages, so each comes to the same verdict.
    """

    def __init__(self, step: Step):
        self.step, self.rollbacks = step, 0
        self.good: dict[str, Any] | None = None

    @property
    def factor(self) -> float:
        """The share of the schedule's learning rate that the run still takes."""
        return FACTOR**self.rollbacks

    @property
    def exhausted(self) -> bool:
        """Whether the run cannot go back once more."""
        return self.good is None or self.rollbacks == MOST

    def __str__(self):
        return f"with {self.factor:g} times the learning rate ({self.rollbacks} of {MOST} rollbacks)"

    def columns(self) -> dict[str, int]:
        """Returns what a row says of it: nothing in a run that never went back."""
        return {"rollbacks": self.rollbacks} if self.rollbacks else {}

    def keep(self) -> None:
        """Takes the step's state for a good one."""
        self.good = None  # its memory serves the next
        self.good = copied(self.step.state_dict(), torch.clone, {})

    @torch.no_grad()
    def began(self, steps: int, val_loss: float = 0.0) -> int | None:
        """Returns where in the epoch training diverged, counted from 0; None if all that it made is finite.

        That is the first step whose loss is not finite, or the last one where only what it left behind is not: weights,
        BatchNorm's statistics, averages, the optimizer's state, the loss in validation. steps: done in the epoch.
        Reads one number from the device, with fp16 two.
        """
        wrong = ~self.step.losses[:steps].isfinite()
        diverged = ~get_total_norm(self.step.trained()).isfinite() | wrong.any()
        if not diverged.item() and math.isfinite(val_loss) and self.scale() > SMALLEST_SCALE:
            return None
        return min([*wrong.tolist(), True].index(True), steps - 1)

    def scale(self) -> float:
        """Returns what fp16 multiplies losses with; 1 in other precisions."""
        return self.step.scaler.get_scale()

    def roll_back(self) -> None:
        """Puts the step back into its last good state."""
        self.step.load_state_dict(copied(self.good, torch.clone, {}))
        self.rollbacks += 1
