"""`fasttrain eval`: measures a checkpoint on a split, through any loader."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fasttrain import runtime as runtimes
from fasttrain.checks import choice, integer
from fasttrain.config import RunConfig
from fasttrain.data import loaders
from fasttrain.data.batch import BatchLoader, LoaderSpec
from fasttrain.data.pack import open_pack
from fasttrain.data.progress import progress_bar
from fasttrain.data.sources import open_source
from fasttrain.data.split import Split
from fasttrain.errors import DataError
from fasttrain.inference import SPLITS
from fasttrain.train import metrics
from fasttrain.train.compile import warm_up
from fasttrain.train.step import Step
from fasttrain.train.trained import Trained, load_trained


def evaluate(checkpoint: str | Path, split: str = "val", **changes: Any) -> dict[str, Any]:
    """Measures a checkpoint (a file, or a run folder for its best one) on the "train" or "val" images, unaugmented.

    changes: keys of `RunConfig`, such as `data`, `loader`, `limit_val` or `tta`; the others are those of the run.
    Returns a dict with `<split>_loss` and so on as in `metrics.jsonl`, bit-equal to them with the settings and on the
    machine of the run. Raises ConfigError, or DataError for a bad checkpoint and for data of other classes.
    """
    choice(SPLITS)("split", split)
    trained = load_trained(checkpoint, changes.get("data"))
    if "data" in changes:  # other data have a val/ of their own, or not
        changes.setdefault("val_fraction", None)
    config = trained.config.replace(**{**changes, "ema": 0, "sizes": "off"})  # its weights are averaged already
    runtime = runtimes.resolve(config)
    images = open_images(trained, config, split)
    batch_size = min(integer(1)("batch_size", config.batch_size), len(images))
    spec = LoaderSpec(images, batch_size, train=False, device=runtime.device, threads=runtime.loader_threads)
    name, note = loaders.choose(config.loader, spec)
    step = Step(trained.build(), config, runtime, images, steps_per_epoch=0, val_images=len(images))
    notes = [*runtime.notes, note]
    if trained.config.ema:
        notes.append(f"weights: averaged over the run with decay {trained.config.ema:g}")
    with runtimes.memory_errors(batch_size):
        seconds = sum_up(step, loaders.build(name, spec), notes.append)
    confusion = metrics.confusion_matrix(images.labels, step.predicted[:-1].cpu().numpy(), images.num_classes)
    return {
        "checkpoint": str(trained.path), "variant": config.variant, "epoch": trained.epoch,
        "split": split, "images": len(images), "classes": images.num_classes,
        **metrics.means(step.sums.tolist(), split),
        f"{split}_macro_f1": metrics.macro_f1(confusion),
        "seconds": seconds, "loader": name, "device": str(runtime.device), "precision": runtime.precision,
        "compile": runtime.compile, "batch_size": batch_size, "notes": notes,
    }


def open_images(trained: Trained, config: RunConfig, name: str) -> Split:
    """Returns the split `name` with the normalisation of the network; DataError where its classes are others."""
    pack = open_pack(open_source(config.data), config.image_size)
    limit = config.limit_train if name == "train" else config.limit_val
    split = pack.split(name, config.classes, limit, config.val_fraction)
    if split.classes != trained.classes:
        known = set(trained.classes)
        stranger = next((c for c in split.classes if c not in known), None)
        what = f"{stranger} is none of them" if stranger else f"the data has {len(split.classes)}"
        raise DataError(f"{trained.path}: was trained on {len(known)} classes, and {what}: choose other --data "
                        "or --classes")
    return dataclasses.replace(split, mean=tuple(trained.mean), std=tuple(trained.std))


def sum_up(step: Step, loader: BatchLoader, warn: Callable[[str], None]) -> float:
    """Evaluates the loader's images once, into the sums of `step`; returns the seconds that took."""
    with contextlib.closing(loader), progress_bar(True) as bar:
        task = bar.add_task("evaluating", total=len(loader))
        if step.runtime.compile != "off":
            warm_up(step, [], next(iter(loader)), warn)
        step.reset()
        started = time.monotonic()
        for batch in loader:
            step.evaluate(batch)
            bar.advance(task)
        step.runtime.synchronize()
    return time.monotonic() - started
