"""What each ingredient of the recipe `fast` is worth: changes one, keeps seeds, order and images, compares in pairs.

    python benchmarks/recipe_ingredients.py --data /path/to/tiny-imagenet-200 [--seeds 3] [--only NAME ...] [--out DIR]

resnet18, 10 classes, 2,500 training images, 8 epochs. Skips finished runs, so an interrupted series goes on where it
stopped, and prints a Markdown table of them. `--table` only prints.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from fasttrain import RunConfig, load_run, run
from fasttrain.errors import DataError
from fasttrain.runs.run import Run
from fasttrain.study.analysis.measures import resampled
from fasttrain.study.analysis.statistics import percentile_interval

SETTING = {"arch": "resnet18", "recipe": "fast", "classes": 10, "limit_train": 2500, "epochs": 8}
BASELINE = "fast"
# name -> changes to the recipe
INGREDIENTS = {
    BASELINE: {},
    "no-crop": {"augment": {"crop_padding": 0}},
    "no-flip": {"augment": {"flip": "none"}},
    "random-flip": {"augment": {"flip": "random"}},
    "no-smoothing": {"label_smoothing": 0.0},
    "no-nesterov": {"optimizer": {"nesterov": False}},
    "decay-all": {"optimizer": {"decay_norm_and_bias": True}},
    "decay-1e-4": {"optimizer": {"weight_decay": 1e-4}},
    "decay-2e-3": {"optimizer": {"weight_decay": 2e-3}},
    "constant-rate": {"schedule": {"name": "step", "period": 1000}},
    "half-rate": {"lr_per_256": 0.2},
    "double-rate": {"lr_per_256": 0.8},
    "batch-64": {"batch_size": 64},
    "cutout-16": {"augment": {"cutout": 16}},
    "resized-crop": {"augment": {"crop_padding": 0, "rrc_scale": 0.35}},
    "ema-0.99": {"ema": 0.99},
    "mixup-0.2": {"mix": {"mixup": 0.2}},
    "cutmix-1": {"mix": {"cutmix": 1.0}},
}


def folder_of(out: str, name: str, seed: int) -> Path:
    return Path(out) / name / str(seed)


def train(out: str, data: str | None, name: str, seed: int) -> None:
    """Trains or continues one run, unless it is done."""
    folder = folder_of(out, name, seed)
    if finished(folder) is None:
        run(RunConfig(**SETTING, **INGREDIENTS[name], data=data, seed=seed, out=str(folder), resume="auto"))


def finished(folder: Path) -> Run | None:
    """Returns the Run in a folder; None where it is not done."""
    try:
        found = load_run(folder)
    except DataError:
        return None
    return found if found.status == "done" else None


def table(out: str, seeds: int) -> Iterator[str]:
    """Yields the lines of a Markdown table: each ingredient against the recipe, over the seeds that both have."""
    yield "| change | top-1 % | difference to `fast`, 95 % interval | n |"
    yield "|---|---|---|---|"
    found = {name: {seed: done for seed in range(seeds) if (done := finished(folder_of(out, name, seed)))}
             for name in INGREDIENTS}
    for name, runs in found.items():
        pairs = [(runs[seed], found[BASELINE][seed]) for seed in sorted(runs.keys() & found[BASELINE].keys())]
        if pairs:
            mean = sum(top1(ours) for ours, _ in pairs) / len(pairs)
            yield f"| {name} | {mean:.1f} | {'' if name == BASELINE else difference(pairs)} | {len(pairs)} |"


def top1(run: Run) -> float:
    return run.final["val_top1"]


def difference(pairs: list[tuple[Run, Run]]) -> str:
    """Returns what a change did, with the 95 % interval of a paired bootstrap over the validation images."""
    value = sum(top1(ours) - top1(theirs) for ours, theirs in pairs) / len(pairs)
    replicates = [replicate(ours) - replicate(theirs) for ours, theirs in pairs]
    estimate = percentile_interval(value, sum(replicates) / len(pairs))
    return f"{estimate.mean:+.1f} ({estimate.low:+.1f} to {estimate.high:+.1f})"


def replicate(run: Run):
    """Returns the top-1 of a run in each replicate of the bootstrap: the same images for every run."""
    return resampled(run.predictions, SETTING["classes"])["val_top1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(INGREDIENTS), default=list(INGREDIENTS))
    parser.add_argument("--out", default="runs/ingredients")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in range(arguments.seeds):
            for name in arguments.only:
                train(arguments.out, arguments.data, name, seed)
    print("\n".join(table(arguments.out, arguments.seeds)))


if __name__ == "__main__":
    main()
