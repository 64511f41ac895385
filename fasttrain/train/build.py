"""From a configuration to everything that a run needs before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fasttrain.config import RunConfig, fit_to_data
from fasttrain.data.pack import open_splits
from fasttrain.data.split import Split
from fasttrain.runtime import Runtime, resolve
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.events import EventLog
from fasttrain.train.trainer import Trainer


@dataclass(frozen=True)
class Job:
    """A configuration fitted to the data and the machine.

    config: has numbers for batch size and learning rate. runtime: has no `auto` left. train, val: the images.
    """

    config: RunConfig
    runtime: Runtime
    train: Split
    val: Split

    def trainer(self, events: EventLog | None = None, checkpoints: Checkpoints | None = None) -> Trainer:
        """Returns a Trainer that has not trained yet. Without `checkpoints` it cannot save."""
        return Trainer(self.config, self.runtime, self.train, self.val, checkpoints, events or EventLog())


def build(config: RunConfig, on_message: Callable[[str], None] | None = None) -> Job:
    """Opens the data and replaces every `auto`; `on_message` gets lines on what is being packed.

    Raises ConfigError for what this machine or the data cannot do, DataError for data that cannot be read.
    """
    runtime = resolve(config)
    train, val = open_splits(config, on_message)
    return Job(fit_to_data(config, len(train)), runtime, train, val)
