"""Run folders without training."""

import functools
import json

import numpy as np
import yaml

from fasttrain.config import RunConfig
from fasttrain.environment import versions
from fasttrain.train.rows import row_to_json

environment = functools.cache(versions)
CLASSES, VAL_IMAGES = 4, 200
DATA = {"train": "1f", "val": "2e"}


def make_row(epoch, top1, **changes):
    return {"epoch": epoch, "step": 10 * epoch, "lr": 0.1, "train_loss": 2 / epoch, "train_top1": top1 + 5,
            "train_top5": 100.0, "val_loss": 3 - top1 / 50, "val_top1": top1, "val_top5": 100.0,
            "val_macro_f1": top1 - 1, "train_image_size": 64, "image_size": 64,
            "images_per_second": 1000.0, "data_wait_fraction": 0.01, "seconds": 2.0,
            "compile_seconds": 0.0, "peak_memory_bytes": 2**30, **changes}


def predictions(top1, shift=0):
    """A table of `predictions.npy` in which that many percent are right: those from image `shift` on."""
    table = np.zeros(VAL_IMAGES, [("label", np.int32), ("predicted", np.int32)])
    table["label"] = np.arange(VAL_IMAGES) % CLASSES
    right = np.roll(np.arange(VAL_IMAGES) < VAL_IMAGES * top1 / 100, shift)
    table["predicted"] = np.where(right, table["label"], (table["label"] + 1) % CLASSES)
    return table


def make_run(folder, head, seed=0, final=85.0, arch="resnet18", epochs=5, rows=None, table=None, fingerprints=None,
             **config):
    """Writes a run folder whose top-1 rises evenly to `final` percent; returns its path."""
    folder.mkdir(parents=True)
    own = {"arch": arch, "head": head, "seed": seed, "epochs": epochs, "batch_size": 4, "lr": 0.1}
    config = RunConfig(**{**own, **config})
    rows = rows or [make_row(n, final * (0.5 + 0.5 * n / epochs)) for n in range(1, epochs + 1)]
    facts = {"train_images": 160, "val_images": VAL_IMAGES, "class_names": [f"class {k}" for k in range(CLASSES)],
             "fingerprints": fingerprints or DATA}
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    (folder / "env.json").write_text(json.dumps({**environment(), "run": facts}))
    (folder / "metrics.jsonl").write_text("".join(row_to_json(row) + "\n" for row in rows))
    if table is not None:
        np.save(folder / "predictions.npy", table)
    return folder


def make_study(root, finals, seeds=3, **config):
    """Runs of {(arch, head): top-1 of each seed} below `root`."""
    return [make_run(root / f"{arch}_{head}" / f"fast-{seed}", head, seed, top1[seed], arch, **config)
            for (arch, head), top1 in finals.items() for seed in range(seeds)]
