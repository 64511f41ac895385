"""A made-up study: Runs as `load_run` gives them, and the dict that `ablation.json` would be."""

import math

import numpy as np

from fasttrain import plotting
from fasttrain.config import RunConfig
from fasttrain.runs.run import Run
from fasttrain.study.analysis.ablation import build_ablation
from fasttrain.train.rows import COLUMNS

NAMES = ["goldfish, Carassius auratus", "<script>alert(1)</script>", "a | b `c` [d](e)", r"$\frac$"]


def make_run(folder, arch="resnet18", head="origin", seed=0, epochs=4, rows=None, recipe="fast", names=NAMES):
    """A Run of which `rows` epochs are done (all by default), with predictions in its folder."""
    config = RunConfig(arch=arch, head=head, seed=seed, epochs=epochs, recipe=recipe, classes=len(names), batch_size=32,
                       lr=0.05)
    path = folder / f"{recipe}_{arch}_{head}_{seed}"
    path.mkdir(parents=True)
    labels = np.repeat(np.arange(len(names)), 5)
    table = np.empty(len(labels), [("label", np.int32), ("predicted", np.int32)])
    table["label"], table["predicted"] = labels, np.where(np.arange(len(labels)) % 3, labels, (labels + 1) % len(names))
    np.save(path / "predictions.npy", table)
    facts = {"train_images": 20, "val_images": len(labels), "class_names": names, "parameters": 1, "device": "cpu",
             "precision": "fp32", "compile": "off", "loader": "resident", "notes": []}
    environment = {"fasttrain": "0.1", "commit": None, "python": "3.11", "platform": "p", "cpu": "a <fast> CPU",
                   "cores": 2, "memory_bytes": 2**30, "cuda": None, "driver": None,
                   "devices": [{"name": "cpu", "threads": 2}], "packages": {"torch": "2.13"}, "run": facts}
    return Run(path, config, [make_row(epoch, head, seed) for epoch in range(1, (rows or epochs) + 1)], environment)


def make_row(epoch, head, seed):
    level = 40 + 5 * epoch - len(head) + seed
    row = dict.fromkeys(COLUMNS, 1.5) | {"epoch": epoch, "step": 10 * epoch, "compile_seconds": 0.0, "seconds": 30.0}
    return row | {key: level + 0.5 for key in COLUMNS if "top" in key or "f1" in key} | {"val_loss": 2 / epoch}


def make_study(folder, archs=("resnet18", "resnet50"), heads=("origin", "maxpool", "dropout"), seeds=2, **more):
    """The runs of every variant and seed."""
    return [make_run(folder, arch, head, seed, **more) for arch in archs for head in heads for seed in range(seeds)]


def make_ablation(runs):
    """A dict in the form of ablation.json with numbers that occur nowhere else."""
    rows = [{"arch": r.config.arch, "head": r.config.head, "seed": r.config.seed, "recipe": r.config.recipe,
             "status": r.status, "reason": None, "epochs": len(r.rows), "final": r.final, "best": r.best,
             "folder": str(r.folder)} for r in runs]
    variants = [{"arch": arch, "head": head, "recipe": "fast", "n": 2, "metric": metric, "mean": 41.25 + place,
                 "low": 40.25 + place, "high": 42.25 + place}
                for place, (arch, head) in enumerate(dict.fromkeys((row["arch"], row["head"]) for row in rows))
                for metric in ("val_top1", "val_macro_f1")]
    comparisons = [{"question": "1. Average or max pooling?", "arch": "resnet18", "a": "origin", "b": "maxpool",
                    "recipe": "fast", "metric": "val_top1", "label": "top-1", "difference": 3.14, "low": 1.04,
                    "high": 5.24, "p": 0.0123, "p_holm": 0.0234, "n": 2, "method": "paired t over seeds",
                    "verdict": "a", "settled": "a", "sentence": "avg beats max"}]
    answers = [{"question": "1. Average or max pooling?", "recipe": "fast",
                "sentence": "avg <beats> max by 3.1 in resnet18.",
                "verdicts": {"resnet18": "a", "resnet50": "none"}}]
    groups = [{"recipe": "fast", "train_images": 20, "val_images": 20, "classes": 4, "epochs": 4, "seeds": [0, 1],
               "milestones": {}, "command": "fasttrain run"}]
    return build_ablation([]) | {"groups": groups, "runs": rows, "variants": variants, "comparisons": comparisons,
                                 "answers": answers}


def diverged(run):
    """The run with a loss that is not a number at its end."""
    run.rows[-1].update(train_loss=math.nan, val_loss=math.nan, val_top1=math.nan)
    return run


def draw_small(patch, seen=None):
    """Makes the pictures of a study smaller, by a MonkeyPatch, which saves time; `seen` gets the figures by file."""
    write = plotting.save

    def save(figure, path):
        if seen is not None:
            seen[path.stem] = figure
        write(figure, path, dpi=100)

    patch.setattr(plotting, "save", save)
