"""Reads a run folder back: what it was, how it went, how it ended."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttrain import seal
from fasttrain.config import RunConfig
from fasttrain.environment import describe, optional
from fasttrain.errors import DataError
from fasttrain.runs.settings import saved_config
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.rows import Row, begins_with, best_row, read_rows, stopped_early
from fasttrain.train.status import DIVERGED, DONE, INTERRUPTED, TO_DO

if TYPE_CHECKING:
    import pandas
    import torch


@dataclass(frozen=True)
class Run:
    """One run. rows: a dict per epoch, the lines of metrics.jsonl (top-1, top-5 and F1 in percent, losses in nats)."""

    folder: Path
    config: RunConfig
    rows: list[dict[str, Any]]
    environment: dict[str, Any]

    @property
    def status(self) -> str:
        """What the rows tell: one of `status.TO_DO`, DIVERGED, INTERRUPTED and DONE."""
        if not self.rows:
            return TO_DO
        if "diverged_step" in self.final or not math.isfinite(self.final["train_loss"] + self.final["val_loss"]):
            return DIVERGED
        return DONE if len(self.rows) >= self.config.epochs or stopped_early(self.rows) else INTERRUPTED

    @property
    def final(self):
        """The last epoch's row; None where there is none."""
        return self.rows[-1] if self.rows else None

    @property
    def best(self):
        """The row with the highest validation top-1; None where there is none."""
        return best_row(self.rows)

    @property
    def facts(self):
        """What the run found at its start (`events.FACTS`); empty where env.json does not tell."""
        return self.environment.get("run") or {}

    @property
    def classes(self) -> int | None:
        """How many classes the run told apart; None where nothing tells."""
        return len(self.facts.get("class_names", ())) or self.config.classes

    @property
    def fingerprints(self):
        """{"train": ..., "val": ...}: equal for equal images and labels; None where the folder does not tell."""
        if "fingerprints" in self.facts:
            return self.facts["fingerprints"]
        try:
            return Checkpoints(self.folder / "checkpoints").load("last")["data"]
        except DataError:
            return None

    @property
    def predictions(self):
        """What the last evaluation said: an array with the int32 fields `label` and `predicted`, one element for each
        validation image in order; None where the folder holds no such file that can be read and fits to the run."""
        try:
            table = np.load(self.folder / "predictions.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if table.dtype.names != ("label", "predicted") or table.shape != (self.facts.get("val_images"),):
            return None
        label, predicted, classes = table["label"], table["predicted"], len(self.facts.get("class_names", ()))
        whole = ((label >= 0) & (label < classes) & (predicted >= -1) & (predicted < classes)).all()
        return table if whole else None


    def model(self) -> torch.nn.Module:
        """Returns the network with the weights of the best checkpoint, see `Trained.build`; DataError without one."""
        from fasttrain.train.trained import load_trained

        return load_trained(self.folder).build()

    def frame(self) -> pandas.DataFrame:
        """Returns the rows as a table, indexed by epoch; needs pandas."""
        pandas = optional("pandas", "Run.frame")
        return pandas.DataFrame(self.rows).set_index("epoch") if self.rows else pandas.DataFrame()


def load_run(folder: str | Path) -> Run:
    """Reads a run folder; DataError in one line where it holds no run."""
    folder = Path(folder)
    return Run(folder, saved_config(folder), read_rows(folder / "metrics.jsonl"), read_environment(folder))


def read_environment(folder: Path) -> dict[str, Any]:
    """Returns what env.json holds; DataError where it is missing or damaged."""
    try:
        environment = seal.open_json((folder / "env.json").read_text(encoding="utf-8"))
        describe(environment)
        return environment
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{folder}: env.json is missing or damaged; not a whole run folder") from None


def damage(folder: Path, rows: list[Row]) -> Iterator[str]:
    """Yields a line for each file beside the checkpoints, which hold `rows`, that a resumed run has to write anew."""
    if not begins_with(folder / "metrics.jsonl", rows):
        yield f"{folder / 'metrics.jsonl'}: missing or damaged; written anew from the checkpoint"
    try:
        read_environment(folder)
    except DataError:
        yield f"{folder / 'env.json'}: missing or damaged; written anew"
