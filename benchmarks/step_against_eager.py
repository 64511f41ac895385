"""Races the training step against the same net in eager NCHW fp32, in turns; prints the medians and their ratio.

    python benchmarks/step_against_eager.py [--arch resnet18] [--batch-size 128] [--rounds 7] [--steps 3]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from fasttrain import RunConfig
from fasttrain.data.batch import Batch
from fasttrain.data.pack import open_pack
from fasttrain.data.sources import open_source
from fasttrain.models import build_model
from fasttrain.runtime import resolve
from fasttrain.train.step import Step


def plain_step(arch: str, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], float]:
    """Returns one step as most people write it, on float images that are normalised already."""
    model = build_model(arch, "origin", 10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step():
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    config = RunConfig(arch=arguments.arch, batch_size=arguments.batch_size, lr=0.1, device="cpu", precision="fp32",
                       compile="off")
    split = open_pack(open_source("synthetic:classes=10,train=64,val=8")).split("train")
    images = torch.tensor(split.pixels[:arguments.batch_size])
    labels = torch.from_numpy(split.labels[:arguments.batch_size])
    ours = Step(build_model(arguments.arch, "origin", 10, seed=0), config, resolve(config), split, 1)
    batch = Batch(images, labels, labels, len(labels))
    ways = {"eager NCHW": plain_step(arguments.arch, torch.randn(len(labels), 3, 64, 64), labels),
            "fasttrain": lambda: ours.train(batch, 0.1, 0, 0)}
    speeds = {name: [] for name in ways}
    for turn in range(arguments.rounds + 1):
        for name, step in ways.items():
            started = time.perf_counter()
            for _ in range(arguments.steps):
                step()
            if turn:  # the first round warms up
                speeds[name].append(arguments.steps * len(labels) / (time.perf_counter() - started))
    for name, values in speeds.items():
        print(f"{name}: {statistics.median(values):.1f} images/s ({min(values):.1f} to {max(values):.1f})")
    pairs = [b / a for a, b in zip(*speeds.values(), strict=True)]
    print(f"ratio: {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f}), "
          f"{torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
