"""A fabricated run: what the trainer tells, without a trainer."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from fasttrain.config import RunConfig
from fasttrain.environment import versions
from fasttrain.train.events import Epoch, EventLog, Finish, Progress, Start
from fasttrain.train.mistakes import Mistakes

STEPS, BATCH, CLASSES = 20, 32, 5


def make_row(epoch):
    return {"epoch": epoch, "step": epoch * STEPS, "lr": 0.1 / epoch,
            "train_loss": 3 / epoch, "train_top1": 10.0 * epoch, "train_top5": 15.0 * epoch,
            "val_loss": 3.5 / epoch, "val_top1": 9.0 * epoch, "val_top5": 14.0 * epoch, "val_macro_f1": 8.5 * epoch,
            "train_image_size": 64, "image_size": 64, "threads": 2,
            "images_per_second": 1234.5, "data_wait_fraction": 0.0031, "seconds": 12.3, "save_seconds": 0.04,
            "compile_seconds": 0.0, "peak_memory_bytes": 2 * 2**30}


def make_start(folder, epochs, resumed_from=0, rows=None, **extras):
    config = RunConfig(head="maxpool", epochs=epochs, batch_size=BATCH, lr=0.1, data="synthetic")
    return Start(config=config, environment=versions(), folder=folder, steps_per_epoch=STEPS,
                 train_images=STEPS * BATCH, val_images=100,
                 class_names=[f"class {i}, synonym" for i in range(CLASSES)], fingerprints={"train": "1f", "val": "2e"},
                 parameters=11_179_077, device="cpu", precision="fp32", compile="off", loader="resident",
                 notes=["device cpu: no usable GPU"],
                 rows=rows or [make_row(epoch) for epoch in range(1, resumed_from + 1)], **extras)


def make_epoch(*rows, steps=STEPS):
    """The event that ends the last of these rows' epochs."""
    first = (rows[-1]["epoch"] - 1) * steps + 1
    return Epoch(rows[-1], list(rows), [{"step": step, "loss": 2.0, "lr": 0.1} for step in range(first, first + steps)])


def make_finish(rows, status="done"):
    return Finish(status=status, rows=rows, seconds=62.0, images_per_second=1234.5, mfu=0.625,
                  data_wait_fraction=0.0031, compile_seconds=0.0, peak_memory_bytes=2 * 2**30,
                  confusion=np.eye(CLASSES, dtype=int) * 15 + 1,
                  predictions=np.array([(0, 0), (1, 2)], [("label", np.int32), ("predicted", np.int32)]),
                  mistakes=lambda: Mistakes(np.zeros((2, 64, 64, 3), np.uint8), np.array([1, 0]), np.array([2, 1]),
                                            np.array([0.9, 0.4])))


def make_early_finish(status):
    """The end of a run that no epoch came before."""
    return Finish(status=status, rows=[], seconds=0.5, images_per_second=None, mfu=None, data_wait_fraction=None,
                  compile_seconds=0.0, peak_memory_bytes=0, confusion=None, predictions=None)


def play(sinks, start, until=None, status="done", row=make_row, finish=True):
    """Emits the events of a run from its earlier rows up to epoch `until`; returns the rows of it all."""
    log = EventLog(sinks)
    log.start(start)
    rows, epochs = list(start.rows), start.config.epochs
    for epoch in range(len(rows) + 1, (until or epochs) + 1):
        for step in range(1, STEPS + 1):
            log.progress(Progress("train", epoch, epochs, step, STEPS, step * BATCH, step * 0.1, step * 0.001))
        log.progress(Progress("val", epoch, epochs, 1, 1, 100, 0.5, 0.0))
        rows.append(row(epoch))
        log.epoch(make_epoch(*rows))
    if finish:
        log.finish(make_finish(rows, status))
    log.close()
    return rows


@pytest.fixture
def fabricated():
    """The makers above."""
    return SimpleNamespace(row=make_row, start=make_start, epoch=make_epoch, finish=make_finish,
                           early_finish=make_early_finish, play=play, nan=math.nan, steps=STEPS)
