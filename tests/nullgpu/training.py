"""Runs of fasttrain on the null GPU, cut into steps: all that these tests know of fasttrain's own names.

As a program, `python -m tests.nullgpu.training PART CONFIGURATION FOLDER`, it trains and writes what was logged.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

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
LOGGED = "logged.json"
ROOT = Path(__file__).parents[2]
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
    graphs: dict[int, list]  # the nodes of each graph that was launched

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
    """The Record of a run, in processes of its own, whose end gives back the memory that compiling took.

    One that is resumed is stopped amid the first epoch before.
    """
    for part in ("begin", "resume") if configuration.resumed else ("whole",):
        command = [sys.executable, "-m", "tests.nullgpu.training", part, json.dumps(asdict(configuration)), str(folder)]
        environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    logged = json.loads((folder / LOGGED).read_text())
    events = nullgpu.events(logged["events"])
    graphs = {int(number): nullgpu.events(nodes) for number, nodes in logged["graphs"].items()}
    return Record(events, list(cut(events)), graphs)


def train(part, configuration, folder):
    """Runs a configuration, or the `part` of it before or after a checkpoint amid the first epoch; writes the log."""
    config = configuration.run_config(folder / "run")
    if part == "begin":
        with pytest.raises(Interrupted):
            run(config, sinks=[Marks(stop_in_epoch=1)])
        return
    if part == "resume":
        config = config.replace(resume=str(folder / "run"), out=None)
    run(config, sinks=[Marks()])
    events = nullgpu.LIBRARY.nullgpu_log().decode()
    graphs = {number: nullgpu.LIBRARY.nullgpu_graph(number).decode()
              for number in set(nullgpu.graphs(nullgpu.events(events)))}
    (folder / LOGGED).write_text(json.dumps({"events": events, "graphs": graphs}))


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


if __name__ == "__main__":
    train(sys.argv[1], Configuration(**json.loads(sys.argv[2])), Path(sys.argv[3]))
