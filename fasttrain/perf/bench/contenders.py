"""fasttrain's own contenders in training; see `worker` for what one answers."""

import numpy as np
import torch
from torch import nn

from fasttrain import runtime as runtimes
from fasttrain.config import RunConfig
from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.split import Split
from fasttrain.models import new_network
from fasttrain.perf import ceilings
from fasttrain.perf.cost import step_cost
from fasttrain.perf.timeline import Timeline
from fasttrain.train.build import build
from fasttrain.train.compile import warm_up
from fasttrain.train.events import EventLog, Sink
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.step import Step
from fasttrain.train.threads import fastest_threads
from fasttrain.train.timing import peak_memory_bytes

CLASSES = 200
# (steps before the clock starts, steps in one measurement)
STEPS = {"cuda": (50, 100), "cpu": (3, 3)}


def training_facts(batch_size: int, precision: str, compile: str, channels_last: bool, loader: str,
                   compile_seconds: float, flops_per_image: int, device: torch.device, dtype: torch.dtype) -> dict:
    """Returns what a contender that trains says of itself, its FLOP/s in a large matrix product among it."""
    return {"batch_size": batch_size, "precision": precision, "compile": compile, "channels_last": channels_last,
            "loader": loader, "compile_seconds": compile_seconds, "flops_per_image": flops_per_image,
            "matmul_flops": ceilings.matmul_flops(device, dtype)}


def step_facts(step: Step, loader_name: str) -> dict:
    """Returns the facts of a contender that trains with fasttrain's Step."""
    batch_size, runtime = step.config.batch_size, step.runtime
    return training_facts(batch_size, runtime.precision, runtime.compile, runtime.channels_last, loader_name,
                          step.compile_seconds, step_cost(step).flops, runtime.device, runtime.dtype)


def refuse(text: str) -> None:
    """Fails, because the requested setting could not be applied."""
    raise RuntimeError(text)


class StepAlone:
    """The training step on one constant batch of noise: with optimizer and metrics, without loader and evaluation.

    config: the values of a RunConfig with numbers for batch size and rate. steps: those of one measurement. model:
    another network in the same step.
    """

    def __init__(self, config: dict, steps: int | None = None, model: nn.Module | None = None):
        config = RunConfig(**config)
        runtime = runtimes.resolve(config)
        split = noise(config.batch_size, config.image_size)
        if config.threads == "auto" and runtime.device.type == "cpu":
            runtime = runtime.with_threads(*fastest_threads(config, runtime, split))
        spec = LoaderSpec(split, config.batch_size, train=True, augment=config.augment, device=runtime.device)
        self.batch = next(iter(loaders.build("constant", spec)))
        model = new_network(config, CLASSES) if model is None else model
        self.step = Step(model, config, runtime, split, steps_per_epoch=1)
        warm_up(self.step, [self.batch], None, warn=refuse)
        untimed, self.steps = STEPS[runtime.device.type]
        self.steps = steps or self.steps
        self.train(untimed)

    @property
    def facts(self) -> dict:
        return step_facts(self.step, "constant")

    def train(self, steps: int) -> None:
        for number in range(steps):
            self.step.train(self.batch, 0.0, number, 0)

    def measure(self) -> dict:
        timeline = Timeline(self.step.runtime.device)
        self.train(self.steps)
        timeline.mark("steps")
        return {"seconds": sum(timeline.milliseconds()["steps"]) / 1e3, "images": self.steps * len(self.batch.labels),
                "steps": self.steps, "peak_memory_bytes": peak_memory_bytes(self.step.runtime.device)}


def noise(count: int, image_size: int) -> Split:
    """Returns a Split of random pixels: zeros would run faster than images do."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8)
    names = [f"class {k}" for k in range(CLASSES)]
    return Split(name="train", pixels=pixels, rows=np.arange(count), labels=np.arange(count) % CLASSES,
                 class_names=names, classes=names, image_size=image_size, mean=(0.5,) * 3, std=(0.25,) * 3, jpeg=None,
                 offsets=None, fingerprint="noise")


class Strict(Sink):
    """Turns a warning of the trainer into an error."""

    essential = True

    def message(self, text, level="info"):
        refuse(text)


class EndToEnd:
    """fasttrain's own trainer: one measurement is an epoch of training and its evaluation.

    `images` counts those trained on; `seconds` holds the evaluation too, `train_seconds` does not.
    """

    def __init__(self, config: dict):
        self.trainer = build(RunConfig(**config)).settled().trainer(EventLog([Strict()]))
        self.trainer.warm_up()
        self.epoch = 0

    @property
    def facts(self) -> dict:
        return step_facts(self.trainer.step, self.trainer.loader_name)

    def measure(self) -> dict:
        epoch = self.epoch % self.trainer.config.epochs
        self.epoch += 1
        train, val = self.trainer.train_epoch(epoch, StopFlag()), self.trainer.evaluate(epoch)
        return {"seconds": train.seconds + val.seconds, "train_seconds": train.seconds, "images": train.images,
                "steps": len(self.trainer.train_loader),
                "peak_memory_bytes": peak_memory_bytes(self.trainer.runtime.device)}
