"""A fabricated run: what the trainer tells, without a trainer."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from fasttrain.config import RunConfig
from fasttrain.environment import versions
from fasttrain.train.events import EventLog, Progress

STEPS, BATCH, CLASSES = 20, 32, 5


def make_row(epoch):
    return {"epoch": epoch, "step": epoch * STEPS, "lr": 0.1 / epoch,
            "train_loss": 3 / epoch, "train_top1": 10.0 * epoch, "train_top5": 15.0 * epoch,
            "val_loss": 3.5 / epoch, "val_top1": 9.0 * epoch, "val_top5": 14.0 * epoch, "val_macro_f1": 8.5 * epoch,
            "train_image_size": 64, "image_size": 64, "images_per_second": 1234.5, "data_wait_fraction": 0.0031,
            "seconds": 12.3, "compile_seconds": 0.0, "peak_memory_bytes": 2 * 2**30}


def make_info(folder, epochs, resumed_from=0):
    config = RunConfig(head="maxpool", epochs=epochs, batch_size=BATCH, lr=0.1, data="synthetic")
    return {"config": config.to_dict(), "environment": versions(), "folder": folder, "command": config.command(),
            "variant": config.variant, "epochs": epochs, "steps_per_epoch": STEPS, "train_images": STEPS * BATCH,
            "val_images": 100, "num_classes": CLASSES, "class_names": [f"class {i}, synonym" for i in range(CLASSES)],
            "fingerprints": {"train": "1f", "val": "2e"},
            "parameters": 11_179_077, "device": "cpu", "precision": "fp32", "compile": "off", "loader": "resident",
            "notes": ["device cpu: no usable GPU"], "resumed_from": resumed_from}


def make_summary(rows, status="done"):
    return {"status": status, "best_epoch": rows[-1]["epoch"], "best_val_top1": rows[-1]["val_top1"],
            "final": rows[-1], "seconds": 62.0, "images_per_second": 1234.5, "mfu": 0.625,
            "data_wait_fraction": 0.0031, "compile_seconds": 0.0, "peak_memory_bytes": 2 * 2**30,
            "confusion": np.eye(CLASSES, dtype=int) * 15 + 1,
            "predictions": np.array([(0, 0), (1, 2)], [("label", np.int32), ("predicted", np.int32)])}


def play(sinks, info, until=None, status="done", row=make_row, finish=True):
    """Emits the events of the epochs from `resumed_from` + 1 to `until`."""
    log = EventLog(sinks)
    log.start(info)
    rows = [row(epoch) for epoch in range(info["resumed_from"] + 1, (until or info["epochs"]) + 1)]
    for now in rows:
        for step in range(1, STEPS + 1):
            log.progress(Progress("train", now["epoch"], info["epochs"], step, STEPS, step * BATCH, step * 0.1,
                                  step * 0.001))
        log.progress(Progress("val", now["epoch"], info["epochs"], 1, 1, 100, 0.5, 0.0))
        log.steps([{"step": (now["epoch"] - 1) * STEPS + step + 1, "loss": 2.0, "lr": 0.1} for step in range(STEPS)])
        log.epoch(now)
    if finish:
        log.finish(make_summary(rows, status))
    log.close()
    return rows


@pytest.fixture
def fabricated():
    """The makers above."""
    return SimpleNamespace(row=make_row, info=make_info, summary=make_summary, play=play, nan=math.nan, steps=STEPS)
