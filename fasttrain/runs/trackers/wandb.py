"""Weights & Biases: WANDB_MODE, WANDB_PROJECT and the like say where, as always.

Offline, wandb does not resume (wandb#2423): a resumed run is a second folder with the same id, and `wandb sync` of both
joins them on the server.
"""

import os

from fasttrain.environment import optional
from fasttrain.runs.trackers import PROJECT, Tracker
from fasttrain.train.status import DONE, INTERRUPTED


class WandbTracker(Tracker):
    name = "wandb"

    def open(self, start, known):
        self.wandb = optional("wandb", "tracker wandb")
        self.run = self.wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), id=known, resume="allow",
                                   name=f"{start.config.variant} {start.folder.name}", dir=str(start.folder),
                                   config=start.config.flat(), settings=self.wandb.Settings(silent=True, console="off"))
        return self.run.id

    def log(self, values, epoch):
        self.run.log(values, step=epoch)

    def image(self, path):
        self.run.log({f"pictures/{path.stem}": self.wandb.Image(str(path))})

    def end(self, status):
        self.run.summary["status"] = status
        self.run.finish(exit_code=0 if status in (DONE, INTERRUPTED) else 1)
