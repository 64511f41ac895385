"""What is compared between runs: one number for each run and metric."""

from typing import NamedTuple

import numpy as np

from fasttrain.study.analysis.statistics import resamples

LEVEL_SHARE = 0.9
EARLY_SHARE = 0.3


class Metric(NamedTuple):
    """label: its name in a sentence, {level} and {early} filled in. better: +1 where more is better, -1 where less is.

    wins: how the winner's advantage is told, with {winner}, {loser} and {amount}.
    """

    label: str
    unit: str
    better: int
    digits: int
    wins: str


METRICS = {
    "val_top1": Metric("top-1", "points", 1, 1, "{winner} beats {loser} by {amount} points top-1"),
    "val_top5": Metric("top-5", "points", 1, 1, "{winner} beats {loser} by {amount} points top-5"),
    "val_macro_f1": Metric("macro-F1", "points", 1, 1, "{winner} beats {loser} by {amount} points macro-F1"),
    "best_val_top1": Metric("best epoch's top-1", "points", 1, 1,
                            "{winner} beats {loser} by {amount} points top-1, each at its best epoch"),
    "val_loss": Metric("validation loss", "nats", -1, 3,
                       "the validation loss of {winner} is lower than that of {loser} by {amount} nats"),
    "val_loss_min": Metric("lowest validation loss", "nats", -1, 3,
                           "the lowest validation loss of {winner} is below that of {loser} by {amount} nats"),
    "val_loss_min_epoch": Metric("epoch of the lowest validation loss", "epochs", -1, 1,
                                 "the validation loss of {winner} is lowest {amount} epochs before that of {loser}"),
    "val_loss_rise": Metric("rise of the validation loss after its minimum", "nats", -1, 3,
                            "the validation loss of {loser} rises by {amount} nats more than that of {winner}"),
    "train_loss": Metric("training loss", "nats", -1, 3,
                         "the training loss of {winner} is lower than that of {loser} by {amount} nats"),
    "epochs_to_level": Metric("epochs to {level:g} % top-1", "epochs", -1, 1,
                              "{winner} reaches {level:g} % top-1 {amount} epochs before {loser}"),
    "early_val_top1": Metric("top-1 at epoch {early}", "points", 1, 1,
                             "at epoch {early}, {winner} leads {loser} by {amount} points top-1"),
}


class Marks(NamedTuple):
    """Where the runs of one backbone under one recipe are looked at: a top-1 level in percent, an early epoch."""

    level: float
    early: int

    @classmethod
    def of(cls, runs):
        """The level is 90 % of the lowest best top-1 of `runs`, rounded down, so that each reaches it."""
        level = np.floor(LEVEL_SHARE * min(run.best["val_top1"] for run in runs))
        return cls(float(level), max(1, round(EARLY_SHARE * runs[0].config.epochs)))


def measure(run, marks):
    """Every metric of a finished run: {name: float}."""
    losses = [row["val_loss"] for row in run.rows]
    final, lowest = run.final, int(np.argmin(losses))
    return {**{name: final[name] for name in ("val_top1", "val_top5", "val_macro_f1", "val_loss", "train_loss")},
            "best_val_top1": run.best["val_top1"], "val_loss_min": losses[lowest], "val_loss_min_epoch": lowest + 1,
            "val_loss_rise": final["val_loss"] - losses[lowest],
            "epochs_to_level": next(row["epoch"] for row in run.rows if row["val_top1"] >= marks.level),
            "early_val_top1": run.rows[marks.early - 1]["val_top1"]}


def resampled(predictions, classes):
    """Top-1 and macro-F1 in percent for each replicate of a bootstrap over the images: {metric: float [R]}."""
    counts = resamples(len(predictions))
    label, predicted = (np.eye(classes, dtype=np.float32)[predictions[name]] for name in ("label", "predicted"))
    predicted[predictions["predicted"] < 0] = 0
    hits = counts @ (label * predicted)
    f1 = 2 * hits / np.maximum(counts @ label + counts @ predicted, 1)
    return {"val_top1": 100 * hits.sum(1) / len(predictions), "val_macro_f1": 100 * f1.mean(1)}
