"""Runs of fasttrain on the null GPU, cut into steps: all that these tests know of fasttrain's own names."""

import os
import signal
from dataclasses import dataclass

import pytest
import torch

from fasttrain import RunConfig, run
from fasttrain.data.batch import Batch
from fasttrain.errors import Interrupted
from fasttrain.models import build_model
from fasttrain.runtime import resolve
from fasttrain.train.compile import warm_up
from fasttrain.train.events import Sink
from fasttrain.train.step import Step
from tests.helpers import make_split
from tests.nullgpu import nullgpu

# two whole batches of 1024 and a short one in training; in evaluation one that is padded
DATA = "synthetic:classes=10,train=215,val=110,size=64"
BATCH, STEPS, EPOCHS = 1024, 3, 3
EXTRAS = {"mix": {"mixup": 0.4, "cutmix": 1.0}, "ema": 0.99, "tta": True}


@dataclass(frozen=True)
class Configuration:
    """A form of the training step.

    extras: with mixing, averaged weights and mirror images. resumed: of a run that was stopped and continued. compiled:
    and captured; else as the recipe has it. sizes: of the images, by epoch.
    """

    arch: str
    head: str
    recipe: str
    extras: bool = False
    resumed: bool = False
    compiled: bool = True
    sizes: str = "off"

    def __str__(self):
        words = [self.arch, self.head, self.recipe, "extras" * self.extras, "resumed" * self.resumed]
        return "-".join(filter(None, words))

    def run_config(self, out):
        """The RunConfig, with a short last batch in each epoch."""
        return RunConfig(arch=self.arch, head=self.head, recipe=self.recipe, data=DATA, batch_size=BATCH, lr=0.1,
                         drop_last=False, epochs=EPOCHS, sizes=self.sizes, device="cuda", out=str(out),
                         **(EXTRAS if self.extras else {}), **({"compile": "reduce-overhead"} if self.compiled else {}))


@dataclass(eq=False)
class StepLog:
    """What the null GPU logged between the ends of two steps of one epoch."""

    phase: str  # "train" or "val"
    epoch: int
    index: int
    events: list

    @property
    def short(self):
        """Whether it is the last training step, whose batch is short."""
        return self.phase == "train" and self.index == STEPS


@dataclass
class Record:
    """The log of a run: everything, and the steps but each epoch's first, before which the loader starts."""

    events: list
    steps: list[StepLog]

    def of(self, phase):
        """The whole-batch steps of a phase."""
        return [step for step in self.steps if step.phase == phase and not step.short]

    def after_the_first_step(self):
        """The events after the end of the first training step."""
        return self.events[[marked(event) is not None for event in self.events].index(True) + 1:]


class Marks(Sink):
    """Marks in the log of the null GPU where each step of a run ended; a warning fails the run."""

    essential = True

    def __init__(self, stop_in_epoch=None):
        self.stop_in_epoch = stop_in_epoch

    def progress(self, progress):
        nullgpu.note(f"{progress.phase} {progress.epoch} {progress.step}")
        if progress.phase == "train" and progress.epoch == self.stop_in_epoch and progress.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def message(self, text, level="info"):
        assert level != "warning", text


def marked(event):
    return event.name.split() if event.kind == "note" else None


def record(configuration, folder):
    """Runs a configuration from its start, or from a checkpoint amid the first epoch, to the end: its Record."""
    config = configuration.run_config(folder)
    if configuration.resumed:
        with pytest.raises(Interrupted):
            run(config, sinks=[Marks(stop_in_epoch=1)])
        config = config.replace(resume=str(folder), out=None)
    nullgpu.reset()
    run(config, sinks=[Marks()])
    events = nullgpu.log()
    return Record(events, list(cut(events)))


def cut(events):
    """The StepLogs of a log with marks."""
    last, since = None, 0
    for position, event in enumerate(events):
        if mark := marked(event):
            phase, epoch, index = mark[0], int(mark[1]), int(mark[2])
            if last == (phase, epoch, index - 1):
                yield StepLog(phase, epoch, index, events[since:position])
            last, since = (phase, epoch, index), position + 1


SMALL = make_split(12, 32, 10)
SMALL_BATCH = 4


def make_step(device, arch, precision, compile_mode, prepare, **settings):
    """A Step on small images, warmed up. prepare: gets the model first."""
    torch._dynamo.reset()
    config = RunConfig(arch=arch, batch_size=SMALL_BATCH, lr=0.01, image_size=32, device=device, precision=precision,
                       compile=compile_mode, **settings)
    model = build_model(arch, "origin", 10, 32, seed=0)
    prepare(model)
    step = Step(model, config, resolve(config), SMALL, 3, len(SMALL))
    warm_up(step, [make_batch(device)], make_batch(device), pytest.fail)
    return step


def make_batch(device, number=0):
    """The Batch `number`, from 0 to 2."""
    indices = torch.arange(number * SMALL_BATCH, (number + 1) * SMALL_BATCH)
    images = torch.from_numpy(SMALL.pixels[SMALL.rows[indices.numpy()]])
    return Batch(images.to(device), torch.from_numpy(SMALL.labels)[indices].to(device), indices.to(device), SMALL_BATCH)
