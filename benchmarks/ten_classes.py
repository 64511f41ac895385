"""Accuracy on ten real classes: resnet18, 12 epochs, both recipes, three seeds; prints mean and spread of top-1.

    python benchmarks/ten_classes.py --data /path/to/tiny-imagenet-200 [--recipes fast original] [--seeds 3] [--out DIR]

A run that is there already is not run again, so an interrupted series goes on where it stopped.
"""

import argparse
import statistics
from pathlib import Path

from fasttrain import RunConfig, load_run, run


def measure(recipe, seed, data, out):
    """The Run of one recipe and seed below `out`, trained or continued if need be."""
    folder = Path(out) / f"{recipe}-{seed}"
    config = RunConfig(recipe=recipe, seed=seed, data=data, classes=10, epochs=12, out=str(folder), resume="auto")
    if (folder / "env.json").exists() and load_run(folder).status == "done":
        return load_run(folder)
    return run(config)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipes", nargs="+", default=["fast", "original"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="runs/ten_classes")
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        runs = [measure(recipe, seed, arguments.data, arguments.out) for seed in range(arguments.seeds)]
        final = [r.final["val_top1"] for r in runs]
        best = [r.best["val_top1"] for r in runs]
        print(f"{recipe}: final top-1 {statistics.mean(final):.1f} % ({min(final):.1f} to {max(final):.1f}), "
              f"best {statistics.mean(best):.1f} %, n = {len(runs)}")


if __name__ == "__main__":
    main()
