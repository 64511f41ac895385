"""The contenders that are fasttrain's own; see `contender` for what they answer."""

import numpy as np

from fasttrain import runtime as runtimes
from fasttrain.config import RunConfig
from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.split import Split
from fasttrain.models import build_model
from fasttrain.perf import ceilings
from fasttrain.perf.cost import step_cost
from fasttrain.perf.timeline import Marks
from fasttrain.train.build import build
from fasttrain.train.compile import warm_up
from fasttrain.train.events import EventLog, Sink
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.step import Step
from fasttrain.train.timing import peak_memory_bytes

CLASSES = 200
# (steps before the clock starts, steps in one measurement)
STEPS = {"cuda": (50, 100), "cpu": (3, 3)}


def facts_of(step, loader_name):
    """What a contender that trains with fasttrain's Step says of itself."""
    config, runtime = step.config, step.runtime
    return {"batch_size": config.batch_size, "precision": runtime.precision, "compile": runtime.compile,
            "channels_last": runtime.channels_last, "loader": loader_name, "compile_seconds": step.compile_seconds,
            "flops_per_image": step_cost(step).flops,
            "matmul_flops": ceilings.matmul_flops(runtime.device, runtime.dtype)}


def refuse(text):
    """A setting that does not run as it was asked for is no result."""
    raise RuntimeError(text)


class StepAlone:
    """The training step on one constant batch of noise: optimizer and metrics included, no loader, no evaluation.

    config: the values of a RunConfig with numbers for batch size and rate. model: another network in the same step.
    """

    def __init__(self, config, steps=None, model=None):
        config = RunConfig(**config)
        runtime = runtimes.resolve(config)
        split = noise(config.batch_size, config.image_size)
        spec = LoaderSpec(split, config.batch_size, train=True, augment=config.augment, device=runtime.device)
        self.batch = next(iter(loaders.build("constant", spec)))
        if model is None:
            model = build_model(config.arch, config.head, CLASSES, config.image_size, config.stem, config.seed)
        self.step = Step(model, config, runtime, split, steps_per_epoch=1)
        warm_up(self.step, self.batch, None, warn=refuse)
        untimed, self.steps = STEPS[runtime.device.type]
        self.steps = steps or self.steps
        self.train(untimed)

    @property
    def facts(self):
        return facts_of(self.step, "constant")

    def train(self, steps):
        for number in range(steps):
            self.step.train(self.batch, 0.0, number, 0)

    def measure(self):
        marks = Marks(self.step.runtime.device)
        marks.mark()
        self.train(self.steps)
        marks.mark()
        return {"seconds": float(marks.milliseconds().sum()) / 1e3, "images": self.steps * len(self.batch.labels),
                "steps": self.steps, "peak_memory_bytes": peak_memory_bytes(self.step.runtime.device)}


def noise(count, image_size):
    """A Split of random pixels: zeros would run faster than images do."""
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
    """fasttrain's own trainer: a measurement is an epoch of training and its evaluation.

    `images` counts those trained on; `seconds` holds the evaluation too, `train_seconds` does not.
    """

    def __init__(self, config):
        self.trainer = build(RunConfig(**config)).trainer(EventLog([Strict()]))
        self.trainer.warm_up()
        self.epoch = 0

    @property
    def facts(self):
        return facts_of(self.trainer.step, self.trainer.loader_name)

    def measure(self):
        epoch = self.epoch % self.trainer.config.epochs
        self.epoch += 1
        train, val = self.trainer.train_epoch(epoch, StopFlag()), self.trainer.evaluate(epoch)
        return {"seconds": train.seconds + val.seconds, "train_seconds": train.seconds, "images": train.images,
                "steps": len(self.trainer.train_loader),
                "peak_memory_bytes": peak_memory_bytes(self.trainer.runtime.device)}
