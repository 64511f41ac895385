"""What is compared between runs: one number for each run and metric."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fasttrain.runs.run import Run
from fasttrain.study.analysis.statistics import resamples

LEVEL_SHARE = 0.9
EARLY_SHARE = 0.3
TIMES_CHANCE = 3
SHARE = 0.25  # of the way from chance to 100 %


def learned_from(classes: int) -> float:
    """Returns the top-1 in percent from which on a network counts as one that learned.

    TIMES_CHANCE times that of guessing; SHARE of the way from there to 100 % where that is less: with eight or fewer
    classes, of which three times chance would be most of what is possible, or more.
    """
    chance = 100 / classes
    return min(TIMES_CHANCE * chance, chance + SHARE * (100 - chance))


LEARNED = f"{TIMES_CHANCE} times that of guessing, or a quarter of the way from there to 100 %, whichever is lower"


class Metric(NamedTuple):
    """A number to compare. better: +1 where more is better, -1 where less is.

    label: its name in a sentence, with {level} and {early}. column: its name above a table. wins: how a sentence tells
    the winner's advantage, with {winner}, {loser}, {amount}, and {beats}, which is "leads" where nothing is settled.
    """

    label: str
    column: str
    unit: str
    better: int
    digits: int
    wins: str

    @property
    def most(self) -> float:
        """The highest value that is possible; the lowest is 0."""
        return 100 if self.unit == "points" else math.inf


# in the order of the tables; the first MAIN are those of the main one
MAIN = 5
METRICS = {
    "val_top1": Metric("top-1", "top-1", "points", 1, 1, "{winner} {beats} {loser} by {amount} points top-1"),
    "val_top5": Metric("top-5", "top-5", "points", 1, 1, "{winner} {beats} {loser} by {amount} points top-5"),
    "val_macro_f1": Metric("macro-F1", "macro-F1", "points", 1, 1,
                           "{winner} {beats} {loser} by {amount} points macro-F1"),
    "best_val_top1": Metric("top-1 of the best epoch", "top-1, best epoch", "points", 1, 1,
                            "{winner} {beats} {loser} by {amount} points top-1, each at its best epoch"),
    "val_loss": Metric("validation loss", "val loss", "nats", -1, 3,
                       "the validation loss of {winner} is {amount} nats lower than that of {loser}"),
    "val_loss_min": Metric("lowest validation loss", "lowest val loss", "nats", -1, 3,
                           "the lowest validation loss of {winner} is {amount} nats below that of {loser}"),
    "val_loss_min_epoch": Metric("epoch of the lowest validation loss", "at epoch", "epochs", -1, 1,
                                 "the validation loss of {winner} is lowest {amount} epochs before that of {loser}"),
    "val_loss_rise": Metric("rise of the validation loss after its minimum", "its rise until the end", "nats", -1, 3,
                            "the validation loss of {loser} rises by {amount} nats more than that of {winner}"),
    "train_loss": Metric("training loss", "train loss", "nats", -1, 3,
                         "the training loss of {winner} is {amount} nats lower than that of {loser}"),
    "epochs_to_level": Metric("epochs to {level:g} % top-1", "epochs to the level", "epochs", -1, 1,
                              "{winner} reaches {level:g} % top-1 {amount} epochs before {loser}"),
    "early_val_top1": Metric("top-1 at epoch {early}", "top-1 early on", "points", 1, 1,
                             "at epoch {early}, {winner} leads {loser} by {amount} points top-1"),
}


class Milestones(NamedTuple):
    """Where the runs of one backbone under one recipe are looked at: a top-1 level in percent, an early epoch."""

    level: float
    early: int

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Milestones":
        """Returns LEVEL_SHARE of the lowest best top-1 of `runs`, rounded down, so that each reaches it; EARLY_SHARE
        of their epochs."""
        level = np.floor(LEVEL_SHARE * min(run.best["val_top1"] for run in runs))
        return cls(float(level), max(1, round(EARLY_SHARE * runs[0].config.epochs)))


def scores(run: Run, milestones: Milestones) -> dict[str, float]:
    """Returns every metric of a finished run."""
    losses = [row["val_loss"] for row in run.rows]
    final, lowest = run.final, int(np.argmin(losses))
    return {**{name: final[name] for name in ("val_top1", "val_top5", "val_macro_f1", "val_loss", "train_loss")},
            "best_val_top1": run.best["val_top1"], "val_loss_min": losses[lowest], "val_loss_min_epoch": lowest + 1,
            "val_loss_rise": final["val_loss"] - losses[lowest],
            "epochs_to_level": next(row["epoch"] for row in run.rows if row["val_top1"] >= milestones.level),
            "early_val_top1": run.rows[milestones.early - 1]["val_top1"]}


def resampled(predictions: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Returns top-1 and macro-F1 in percent for each replicate of a bootstrap over the images, [R] each."""
    counts = resamples(len(predictions))
    label, predicted = (np.eye(classes, dtype=np.float32)[predictions[name]] for name in ("label", "predicted"))
    predicted[predictions["predicted"] < 0] = 0
    hits = counts @ (label * predicted)
    f1 = 2 * hits / np.maximum(counts @ label + counts @ predicted, 1)
    return {"val_top1": 100 * hits.sum(1) / len(predictions), "val_macro_f1": 100 * f1.mean(1)}
