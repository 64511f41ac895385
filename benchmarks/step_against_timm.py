"""Races a network of timm in fasttrain's step against the loop of timm's train.py, in turns, on one constant batch.

    python benchmarks/step_against_timm.py [--network resnet18] [--batch-size 128] [--rounds 7] [--json FILE]

Both have the same batch, precision, layout, optimizer settings and threads; neither is compiled. timm's loop gets
images that are normalised already; fasttrain's step normalises them and counts hits besides.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import timm.loss
import timm.optim
import torch

from fasttrain import RunConfig
from fasttrain.models import build_model
from fasttrain.perf.bench.contenders import CLASSES, StepAlone
from fasttrain.perf.bench.results import environment, spread
from fasttrain.runtime import Runtime


def timms_step(config: RunConfig, runtime: Runtime) -> Callable[[], None]:
    """Returns a step as `train_one_epoch` of timm's train.py does it with --amp --channels-last."""
    model = build_model(config.arch, "own", CLASSES, config.image_size, seed=0)
    model.to(memory_format=runtime.memory_format).train()
    optimizer = timm.optim.create_optimizer_v2(model, opt="sgd", lr=config.lr, momentum=config.optimizer.momentum,
                                               weight_decay=config.optimizer.weight_decay)
    loss_of = timm.loss.LabelSmoothingCrossEntropy(config.label_smoothing)
    images = torch.randn(config.batch_size, 3, config.image_size, config.image_size)
    images = images.contiguous(memory_format=runtime.memory_format)
    labels = torch.arange(config.batch_size) % CLASSES

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=runtime.precision == "bf16"):
            loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--precision", default="auto")
    for name, default in (("batch-size", 128), ("rounds", 7), ("steps", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    config = RunConfig(arch=f"timm:{arguments.network}", batch_size=arguments.batch_size, lr=0.1, device="cpu",
                       precision=arguments.precision, compile="off", loader="constant")
    ours = StepAlone(config.to_dict(), arguments.steps)
    theirs = timms_step(config, ours.step.runtime)
    ways = {"timm": lambda: [theirs() for _ in range(arguments.steps)],
            "fasttrain": lambda: ours.train(arguments.steps)}
    speeds = {name: [] for name in ways}
    for turn in range(arguments.rounds + 1):
        for name, steps in ways.items():
            started = time.perf_counter()
            steps()
            if turn:  # the first round warms up
                speeds[name].append(arguments.steps * arguments.batch_size / (time.perf_counter() - started))
    for name, values in speeds.items():
        print(f"{name}: {statistics.median(values):.1f} images/s ({min(values):.1f} to {max(values):.1f})")
    pairs = [b / a for a, b in zip(*speeds.values(), strict=True)]
    print(f"{arguments.network}: {statistics.median(pairs):.2f} times timm ({min(pairs):.2f} to {max(pairs):.2f}), "
          f"{ours.step.runtime.precision}, {torch.get_num_threads()} threads")
    if arguments.json:
        found = {"environment": environment(timm=timm.__version__, **vars(arguments)),
                 "images_per_second": speeds, "ratio": spread(pairs)}
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
