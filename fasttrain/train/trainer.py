"""The trainer: epochs of steps, an evaluation after each, a row, a checkpoint."""

import math
import signal
from types import SimpleNamespace

import numpy as np

from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.errors import DataError, DivergedError, Interrupted
from fasttrain.models import build_model
from fasttrain.sizes import left_out
from fasttrain.train import metrics
from fasttrain.train.events import Progress
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.schedule import learning_rate
from fasttrain.train.step import Step
from fasttrain.train.timing import peak_memory_bytes, wait_clock


class Trainer:
    """Trains one variant. `config` has numbers for batch size and learning rate; events go to `events`."""

    def __init__(self, config, runtime, train_split, val_split, checkpoints, events):
        self.config, self.runtime, self.events, self.checkpoints = config, runtime, events, checkpoints
        self.data = {"train": train_split.fingerprint, "val": val_split.fingerprint}
        self.facts = train_split.facts
        spec = LoaderSpec(train_split, config.batch_size, train=True, seed=config.seed, augment=config.augment,
                          drop_last=config.drop_last, device=runtime.device)
        eval_spec = LoaderSpec(val_split, min(config.batch_size, len(val_split)), train=False, device=runtime.device)
        self.loader_name, self.loader_note = loaders.choose(config.loader, spec)
        self.notes = [*runtime.notes, self.loader_note]
        self.notes += [f"sizes: {size} px gets no whole epoch of {config.epochs} and is left out"
                       for size in left_out(config.sizes, config.epochs)]
        self.train_loader = loaders.build(self.loader_name, spec)
        self.val_loader = loaders.build(self.loader_name, eval_spec)
        model = build_model(config.arch, config.head, train_split.num_classes, config.image_size, config.stem,
                            config.seed)
        self.step = Step(model, config, runtime, train_split, len(self.train_loader), len(val_split))
        self.epoch = self.step_in_epoch = 0
        self.rows, self.best = [], -1.0
        self.confusion = self.predicted = None

    def fit(self, stop=None):
        """Trains what is left of the run; returns its rows. stop: a StopFlag that may have been raised before.

        Raises DivergedError on a loss that is not finite, Interrupted after saving on a signal.
        """
        with (stop or StopFlag()).listening() as stop:
            self.warm_up()
            for epoch in range(self.epoch, self.config.epochs):
                train = self.train_epoch(epoch, stop)
                val = self.evaluate(epoch)
                row = self.record(epoch, train, val)
                self.save(row)
                self.stop_if_asked(stop)
        return self.rows

    def train_epoch(self, epoch, stop):
        """One pass over the training images, from `step_in_epoch` on; returns its sums and clocks."""
        steps, first = len(self.train_loader), self.step_in_epoch
        if first == 0:
            self.step.reset()
        self.step.resize(self.config.train_sizes[epoch])
        self.train_loader.set_epoch(epoch, first)
        clock, images = wait_clock(self.runtime.device), 0
        for index, batch in enumerate(clock.over(self.train_loader), first):
            global_step = epoch * steps + index
            self.step.train(batch, learning_rate(self.config, global_step, steps), global_step, index)
            images += batch.valid
            self.events.progress(Progress("train", epoch + 1, self.config.epochs, index + 1, steps, images,
                                          clock.elapsed(), clock.seconds))
            if stop.received and index + 1 < steps:
                self.step_in_epoch = index + 1
                self.stop_if_asked(stop)
        self.runtime.synchronize()
        self.step_in_epoch = 0
        return SimpleNamespace(sums=self.step.sums.tolist(), images=images, seconds=clock.elapsed(), wait=clock.seconds)

    def evaluate(self, epoch):
        """One pass over the validation images; returns its sums, the class it gave each image, and its clock."""
        self.step.reset()
        self.val_loader.set_epoch(0)
        clock, images = wait_clock(self.runtime.device), 0
        for index, batch in enumerate(clock.over(self.val_loader), 1):
            self.step.evaluate(batch)
            images += batch.valid
            self.events.progress(Progress("val", epoch + 1, self.config.epochs, index, len(self.val_loader), images,
                                          clock.elapsed(), clock.seconds))
        return SimpleNamespace(sums=self.step.sums.tolist(), predicted=self.step.predicted[:-1].cpu().numpy(),
                               seconds=clock.elapsed())

    def record(self, epoch, train, val):
        """Makes the epoch's row and hands it out; raises DivergedError if its loss is not finite."""
        steps, config, split = len(self.train_loader), self.config, self.val_loader.spec.split
        self.predicted = val.predicted
        self.confusion = metrics.confusion_matrix(split.labels, val.predicted, split.num_classes)
        rates = [learning_rate(config, epoch * steps + index, steps) for index in range(steps)]
        row = {"epoch": epoch + 1, "step": (epoch + 1) * steps, "lr": rates[-1],
               **metrics.means(train.sums[:4], "train"), **metrics.means(val.sums, "val"),
               "val_macro_f1": metrics.macro_f1(self.confusion),
               "train_image_size": self.step.size, "image_size": config.image_size,
               "images_per_second": train.images / train.seconds, "data_wait_fraction": train.wait / train.seconds,
               "seconds": train.seconds + val.seconds, "compile_seconds": self.step.compile_seconds,
               "peak_memory_bytes": peak_memory_bytes(self.runtime.device)}
        self.rows.append(row)
        self.events.steps([{"step": epoch * steps + index + 1, "loss": loss, "lr": rate}
                           for index, (loss, rate) in enumerate(zip(self.step.losses.tolist(), rates, strict=True))])
        self.events.epoch(row)
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            raise DivergedError(f"epoch {epoch + 1}: the loss is {row['train_loss']:g} in training and "
                                f"{row['val_loss']:g} in validation; lower --lr (now {config.lr:g})")
        return row

    def save(self, row):
        """Saves `last`, and `best` where the top-1 accuracy is the highest so far."""
        self.epoch = row["epoch"]
        better = row["val_top1"] > self.best
        self.best = max(self.best, row["val_top1"])
        state = self.state_dict()
        facts = {"epoch": self.epoch, "epochs": self.config.epochs, "val_top1": row["val_top1"]}
        if better:
            self.checkpoints.save("best", state, **facts)
        self.checkpoints.save("last", state, **facts)

    def predictions(self):
        """The class of each validation image and the one it was given last: a structured array; None before that."""
        if self.predicted is None:
            return None
        table = np.empty(len(self.predicted), [("label", np.int32), ("predicted", np.int32)])
        table["label"], table["predicted"] = self.val_loader.spec.split.labels, self.predicted
        return table

    def stop_if_asked(self, stop):
        """After a signal: saves what is not saved yet and leaves."""
        finished = self.epoch == self.config.epochs
        if stop.received is None or finished:
            return
        if self.step_in_epoch:
            self.checkpoints.save("last", self.state_dict(), epoch=self.epoch, epochs=self.config.epochs)
        raise Interrupted(f"{stop.received.name}: saved after epoch {self.epoch} + {self.step_in_epoch} steps; "
                          f"continue with --resume {self.checkpoints.folder.parent}",
                          exit_code=130 if stop.received == signal.SIGINT else 75)

    def warm_up(self):
        """Compiles before the clocks start."""
        if self.runtime.compile != "off":
            self.train_loader.set_epoch(self.epoch)
            batches = [next(iter(loader)) for loader in (self.train_loader, self.val_loader)]
            self.step.warm_up(*batches, warn=lambda text: self.events.message(text, "warning"))

    def state_dict(self):
        """Everything that the rest of the run depends on; all else is a function of the config."""
        return {**self.step.state_dict(), "config": self.config.to_dict(), "data": self.data, **self.facts,
                "epoch": self.epoch, "step_in_epoch": self.step_in_epoch, "best": self.best, "rows": self.rows}

    def load_state_dict(self, state):
        """Continues from `state`; DataError if it was trained on other images."""
        if state["data"] != self.data:
            raise DataError(f"{self.checkpoints.folder}: was trained on other images than --data holds now")
        self.step.load_state_dict(state)
        self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
        self.best, self.rows = state["best"], state["rows"]

    def close(self):
        self.train_loader.close()
        self.val_loader.close()
