"""Learning-rate schedules, one a file: pure functions of the step, so that resuming needs no state."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fasttrain.checks import Checked, choice, setting
from fasttrain.registry import SCHEDULES

if TYPE_CHECKING:
    from fasttrain.config import RunConfig


@dataclass(frozen=True)
class Schedule(Checked):
    """The section `schedule` of a config: the learning rate over the run, as a share of its peak."""

    prefix: ClassVar[str] = "schedule."
    name: str = setting(choice(SCHEDULES.names))

    def share(self, progress: float, epoch: int) -> float:
        """Returns the share of the peak rate. progress: of the run, in (0, 1); epoch: whole epochs done."""
        raise NotImplementedError


def learning_rate(config: "RunConfig", step: int, steps_per_epoch: int) -> float:
    """Returns the learning rate of the global step `step`, counted from 0."""
    total = config.epochs * steps_per_epoch
    return config.lr * config.schedule.share((step + 0.5) / total, step // steps_per_epoch)
