"""The trainer: epochs of steps, an evaluation after each, a row, a checkpoint."""

from __future__ import annotations

import itertools
import signal
from typing import Any

from fasttrain.config import RunConfig
from fasttrain.data.batch import Batch
from fasttrain.data.split import Split
from fasttrain.errors import DataError, DivergedError, Interrupted
from fasttrain.models import new_network
from fasttrain.models.freeze import trained_count
from fasttrain.models.own import fingerprint
from fasttrain.processes import ALONE, Processes
from fasttrain.runtime import Runtime, use_threads
from fasttrain.sizes import left_out
from fasttrain.train import metrics
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.compile import warm_up
from fasttrain.train.divergence import Guard
from fasttrain.train.events import Epoch, EventLog, Progress
from fasttrain.train.feed import batch_at, batches_to_see, build_loaders
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.metrics import Pass
from fasttrain.train.recalibrate import recalibrate
from fasttrain.train.resume import refuse_other, same_shapes
from fasttrain.train.rows import STOPPED, Row, epochs_without_gain, stopped_early
from fasttrain.train.saver import Saver
from fasttrain.train.schedules import learning_rate
from fasttrain.train.slices import build_step
from fasttrain.train.slowdown import Slowdown
from fasttrain.train.timing import WaitClock, peak_memory_bytes, wait_clock
from fasttrain.train.weights import load_weights

# What an epoch from its first step on has behind it: images, seconds in all, seconds of waiting for data.
NOTHING = (0, 0.0, 0.0)


class Trainer:
    """Trains one variant; `build.Job.trainer` makes it.

    Attributes that others read:
        step, train_loader, val_loader, loader_name; notes: lines on what every `auto` chose and why.
        epoch: how many are complete. step_in_epoch: steps done of the next one. threads: those of the epoch in
            progress; one that is resumed in its middle keeps its number to its end.
        before: what an earlier process did of that epoch, see NOTHING: its speed is that of all its steps.
        rows: one for each complete epoch. best: their highest validation top-1, -1 before the first.
        over: whether `patience` has ended the run; one that is made longer goes on.
        predicted: the class that the last evaluation gave each validation image, int64; None before it.
        confusion: counts of that, int64 [classes, classes], rows = truth.
        data: fingerprints of the images. facts: what checkpoints hold of the training split beside them.
        network: fingerprint of the file of a network of one's own; None for others.
        origin: a line on which of `config.weights` the run began with; None where it began with none.

    new: whether it begins the run, and not goes on with weights that are yet to be loaded.
    """

    def __init__(self, config: RunConfig, runtime: Runtime, train_split: Split, val_split: Split,
                 checkpoints: Checkpoints | None, events: EventLog, processes: Processes = ALONE, new: bool = True):
        self.config, self.runtime, self.events, self.checkpoints = config, runtime, events, checkpoints
        self.processes = processes
        self.data = {"train": train_split.fingerprint, "val": val_split.fingerprint}
        self.facts, self.network = train_split.facts, fingerprint(config.arch)
        self.train_loader, self.val_loader, self.loader_name, loader_note = build_loaders(
            config, runtime, train_split, val_split, processes)
        self.notes = [*runtime.notes, loader_note, *(f"sizes: {size} px gets no whole epoch of {config.epochs} and is "
                                                     "left out" for size in left_out(config.sizes, config.epochs))]
        model = new_network(config, train_split.num_classes)
        self.origin = load_weights(model, config.weights) if config.weights and new else None
        frozen = f"freeze: {trained_count(model):,} parameters are trained" if config.freeze else None
        self.notes += filter(None, (self.origin, frozen))
        self.step = build_step(model, config, runtime, train_split, self.train_loader.plan, len(val_split), processes)
        self.saver, self.saved = Saver(checkpoints, config.save_every), None
        self.guard = Guard(self.step)
        self.epoch = self.step_in_epoch = 0
        self.threads, self.before = runtime.threads, NOTHING
        watched = runtime.device.type == "cpu" and checkpoints
        self.slowdown = Slowdown(runtime.threads, checkpoints.folder.parent) if watched else None
        self.rows, self.best, self.over = [], -1.0, False
        self.confusion = self.predicted = None

    def fit(self, stop: StopFlag | None = None) -> list[Row]:
        """Trains what is left of the run and returns its rows. stop: asks it to save and leave, whenever it is raised.

        Whichever way it ends, what was to be saved is on the disk. Raises DivergedError where going back did not help,
        Interrupted after saving, DataError where the disk takes no checkpoint.
        """
        stop = stop or StopFlag()
        self.warm_up()
        if self.step_in_epoch == 0:
            self.guard.keep()
        try:
            while not self.done:
                trained = self.train_epoch(self.epoch, stop)
                evaluated = self.evaluate(self.epoch)
                began = self.guard.began(len(self.train_loader), evaluated.sums[0])
                if began is not None:
                    self.roll_back(began, trained, evaluated)
                    continue
                row = self.complete_epoch(self.epoch, trained, evaluated)
                self.announce(row)
                self.save(row)
                self.guard.keep()
                self.leave_if_asked(max(self.processes.all(stop.received or 0)))
        except DataError:  # of the loader: the steps before it are whole
            self.step_in_epoch = self.step.steps - self.epoch * len(self.train_loader)
            if self.step_in_epoch < len(self.train_loader) and self.processes.size == 1:
                self.save_unfinished()
            raise
        finally:
            self.saver.wait()
        return self.rows

    def train_epoch(self, epoch: int, stop: StopFlag) -> Pass:
        """Makes one pass over the training images, from `step_in_epoch` on."""
        steps, first = len(self.train_loader), self.step_in_epoch
        if first == 0:
            self.step.reset()
            self.threads, self.before = self.runtime.threads, NOTHING
        use_threads(self.threads)
        self.step.size = self.config.train_sizes[epoch]
        self.train_loader.set_epoch(epoch, first)
        clock, images = wait_clock(self.runtime.device), 0
        for index, batch in enumerate(clock.over(self.train_loader), first):
            global_step = epoch * steps + index
            self.step.train(batch, self.rate(global_step), global_step, index)
            images += self.train_loader.plan.size(index)
            progress = Progress("train", epoch + 1, self.config.epochs, index + 1, steps, images, clock.elapsed(),
                                clock.seconds)
            self.events.progress(progress)
            if self.slowdown and (line := self.slowdown.update(progress, self.step.size)):
                self.events.message(line, "warning")
            asked = self.step.agree(stop.received)
            if asked and index + 1 < steps:
                self.before, self.step_in_epoch = self.with_before(images, clock), index + 1
                self.leave_if_asked(asked)
        self.step.settle()
        self.step_in_epoch = 0
        return Pass(self.step.sums.tolist(), *self.with_before(images, clock))

    def with_before(self, images: int, clock: WaitClock) -> tuple[int, float, float]:
        """Returns what the epoch in progress has behind it, with the part of it that this process did."""
        return tuple(map(sum, zip(self.before, (images, clock.elapsed(), clock.seconds), strict=True)))

    def evaluate(self, epoch: int) -> Pass:
        """Makes one pass over the validation images and sets `predicted` and `confusion`."""
        if self.config.recalibrate and self.step.size != self.config.image_size:
            self.train_loader.set_epoch(epoch)
            recalibrate(self.step, itertools.islice(self.train_loader, self.config.recalibrate))
        self.step.reset()
        self.val_loader.set_epoch(0)
        clock, images = wait_clock(self.runtime.device), 0
        for index, batch in enumerate(clock.over(self.val_loader)):
            self.step.evaluate(batch)
            images += self.val_loader.plan.size(index)
            self.events.progress(Progress("val", epoch + 1, self.config.epochs, index + 1, len(self.val_loader), images,
                                          clock.elapsed(), clock.seconds))
        self.processes.sum(self.step.sums)
        self.processes.max(self.step.predicted)
        sums, self.predicted = self.step.sums.tolist(), self.step.predicted[:-1].cpu().numpy()
        seconds, split = clock.elapsed(), self.val_loader.spec.split
        self.confusion = metrics.confusion_matrix(split.labels, self.predicted, split.num_classes)
        return Pass(sums, images, seconds, clock.seconds)

    def complete_epoch(self, epoch: int, train: Pass, val: Pass) -> Row:
        """Adds an epoch to those that are complete; returns its row."""
        row = {"epoch": epoch + 1, "step": (epoch + 1) * len(self.train_loader), "lr": self.rates(epoch)[-1],
               **metrics.means(train.sums[:4], "train"), **metrics.means(val.sums, "val"),
               "val_macro_f1": metrics.macro_f1(self.confusion),
               "train_image_size": self.step.size, "image_size": self.config.image_size,
               "threads": self.threads,
               "images_per_second": train.images / train.seconds,
               "data_wait_fraction": train.wait_seconds / train.seconds, "seconds": train.seconds + val.seconds,
               "save_seconds": self.saver.seconds, "compile_seconds": self.step.compile_seconds,
               "peak_memory_bytes": peak_memory_bytes(self.runtime.device), **self.guard.columns()}
        self.saver.seconds = 0.0
        self.epoch = epoch + 1
        self.rows.append(row)
        if 0 < self.config.patience <= epochs_without_gain(self.rows) and not self.done:
            row[STOPPED] = self.over = True
        return row

    @property
    def done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.over or self.epoch == self.config.epochs

    def rates(self, epoch: int) -> list[float]:
        """Returns the learning rate of each step of an epoch."""
        steps = len(self.train_loader)
        return [self.rate(epoch * steps + index) for index in range(steps)]

    def rate(self, global_step: int) -> float:
        """Returns the learning rate of a step, counted over the run from 0."""
        return self.guard.factor * learning_rate(self.config, global_step, len(self.train_loader))

    def announce(self, row: Row) -> None:
        """Tells those who listen of the epoch that is complete."""
        epoch, losses = row["epoch"] - 1, self.step.losses.tolist()
        steps = [{"step": epoch * len(losses) + index, "loss": loss, "lr": rate}
                 for index, (loss, rate) in enumerate(zip(losses, self.rates(epoch), strict=True), 1)]
        self.events.epoch(Epoch(row, self.rows, steps))

    def roll_back(self, began: int, trained: Pass, evaluated: Pass) -> None:
        """Goes back to before the epoch in progress, which diverged at its step `began`, and says so.

        Raises DivergedError, with a row that says at which step, where the run has gone back often enough.
        """
        step = self.epoch * len(self.train_loader) + began + 1
        told = f"epoch {self.epoch + 1}: diverged at step {step}"
        if not self.guard.exhausted:
            self.guard.roll_back()
            place = f"the end of epoch {self.epoch}" if self.epoch else "the start"
            self.events.message(f"{told}; back to {place}, {self.guard}", "warning")
            return
        self.save_good()
        row = self.complete_epoch(self.epoch, trained, evaluated)
        row["diverged_step"] = step
        self.announce(row)
        raise DivergedError(f"{told}, {self.guard}; lower --lr (now {self.config.lr:g})")

    def save(self, row: Row) -> None:
        """Saves `last` where that is due, and `last` and `best` where the top-1 accuracy is the highest so far."""
        better = row["val_top1"] > self.best
        self.best = max(self.best, row["val_top1"])
        if better:
            self.save_as("best", "last")
        elif self.done or self.saver.due(self.epoch):
            self.save_as("last")

    def save_as(self, *names: str) -> None:
        """Hands the state to the saver, to be written under these names; of several processes the first one does."""
        if self.processes.first:
            self.saver.save(names, self.state_dict())
        self.saved = self.epoch, self.step_in_epoch

    def save_good(self) -> None:
        """Saves, as `last`, the state before the epoch in progress, unless that is done."""
        self.step_in_epoch = 0
        if self.processes.first and self.guard.good and self.saved != (self.epoch, 0):
            self.saver.save(("last",), {**self.state_dict(), **self.guard.good})
        self.saved = self.epoch, 0

    def save_unfinished(self) -> None:
        """Saves, as `last`, the state in the middle of an epoch, or the one before it if that diverged."""
        if self.step_in_epoch and self.guard.began(self.step_in_epoch) is not None:
            self.save_good()
        elif self.saved != (self.epoch, self.step_in_epoch):
            self.save_as("last")

    def leave_if_asked(self, asked: int | None) -> None:
        """Saves and raises Interrupted after a signal. A run that is complete has nothing to leave."""
        if not asked or self.done:
            return
        self.save_unfinished()
        self.saver.wait()
        raise Interrupted(f"{signal.Signals(asked).name}: saved after epoch {self.epoch} + {self.step_in_epoch} steps; "
                          f"continue with --resume {self.checkpoints.folder.parent}", asked)

    def first_batch(self) -> Batch:
        """Returns the first training batch of the epoch that comes next."""
        return batch_at(self.train_loader, self.epoch, 0)

    def warm_up(self) -> None:
        """Compiles before the clocks start, for a short last batch too."""
        train, val = [], None
        if self.runtime.compile != "off":
            train, val = batches_to_see(self.train_loader, self.epoch), next(iter(self.val_loader))
        warm_up(self.step, train, val, warn=lambda text: self.events.message(text, "warning"))

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that the rest of the run depends on; all else is a function of the config."""
        start = {"epoch_start": self.guard.good} if self.step_in_epoch else {}
        return {**self.step.state_dict(), **start, "rollbacks": self.guard.rollbacks,
                "config": self.config.to_dict(), "data": self.data, **self.facts,
                "epoch": self.epoch, "step_in_epoch": self.step_in_epoch, "threads": self.threads,
                "processes": self.processes.size, "network": self.network, "origin": self.origin,
                "before": self.before, "best": self.best, "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state`; see `resume` for what is refused."""
        folder = self.checkpoints.folder
        refuse_other(state, folder, self.config, self.data, self.processes.size, self.network)
        with same_shapes(folder, self.config):
            self.step.load_state_dict(state)
        self.guard.rollbacks, self.guard.good = state.get("rollbacks", 0), state.get("epoch_start")
        self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
        self.threads = state.get("threads", self.runtime.threads)  # version 0.1 kept none
        self.before = tuple(state.get("before", NOTHING))
        if not self.origin and state.get("origin"):
            self.origin = state["origin"]
            self.notes.append(self.origin)
        self.best, self.rows = state["best"], state["rows"]
        longer = state["config"]["epochs"] < self.config.epochs
        self.over = stopped_early(self.rows) and not self.step_in_epoch and not longer

    def close(self) -> None:
        self.train_loader.close()
        self.val_loader.close()
