"""The commands as functions: what `fasttrain run` does is `run(RunConfig(...))` in a notebook."""

import tempfile
import time
from pathlib import Path

import numpy as np

from fasttrain import runtime as runtimes
from fasttrain.config import fit_to_data
from fasttrain.data.pack import open_splits
from fasttrain.environment import versions
from fasttrain.errors import DivergedError, Interrupted
from fasttrain.perf import ceilings
from fasttrain.perf.cost import step_cost
from fasttrain.runs import folder as run_folder
from fasttrain.runs.run import load_run
from fasttrain.runs.sinks.files import write_rows
from fasttrain.train.checkpoint import Checkpoints, disk_bytes
from fasttrain.train.events import EventLog, Sink
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.timing import peak_memory_bytes
from fasttrain.train.trainer import Trainer


def run(config, sinks=None, console=None):
    """Trains the variant that `config` (a RunConfig) describes and returns its `Run` (see `load_run`).

    `sinks` replaces the console and the files that a run folder gets by observers of one's own (without a `FilesSink`
    among them there is no Run to return), `console` only the console. Raises ConfigError, DataError, DivergedError, or
    Interrupted after a signal; each has its `exit_code`.
    """
    started = time.monotonic()
    runtime = runtimes.resolve(config)
    run_folder.refuse_taken(config)
    train, val = open_splits(config, print)
    config = fit_to_data(config, len(train))
    folder = run_folder.claimed(config, disk_bytes(config, train.num_classes))
    events = EventLog(default_sinks(folder.path, console) if sinks is None else sinks)
    try:
        with StopFlag().listening() as stop, runtimes.memory_errors(config.batch_size):
            trainer = Trainer(config, runtime, train, val, folder.checkpoints, events)
            if folder.resumed:
                trainer.load_state_dict(folder.checkpoints.load_newest(lambda text: events.message(text, "warning")))
                write_rows(folder.path, trainer.rows)  # the file's last lines may have gone with the power
            events.start(describe(trainer, folder.path, train, val))
            train_to_the_end(trainer, events, started, stop)
    finally:
        events.close()
        folder.release()
    return load_run(folder.path) if (folder.path / "env.json").exists() else None


def train_to_the_end(trainer, events, started, stop):
    """Fits and tells how it ended, whichever way that is; a signal meanwhile cuts no file off."""
    status = "failed"
    try:
        trainer.fit(stop)
        status = "done"
    except Interrupted:
        status = "interrupted"
        raise
    except DivergedError:
        status = "diverged"
        raise
    finally:
        events.finish(summarize(trainer, status, started))
        trainer.close()


def dry_run(config):
    """Builds everything, does one train step, one eval step, one save and load; returns the lines that say so."""
    runtime = runtimes.resolve(config)
    train, val = open_splits(config, print)
    config = fit_to_data(config, len(train))
    with tempfile.TemporaryDirectory() as scratch, runtimes.memory_errors(config.batch_size):
        checkpoints = Checkpoints(scratch)
        trainer = Trainer(config, runtime, train, val, checkpoints, EventLog([Sink()]))
        trainer.warm_up()
        steps = [train_once(trainer, size) for size in trainer.step.sizes]
        started = time.monotonic()
        trainer.step.evaluate(next(iter(trainer.val_loader)))
        runtime.synchronize()
        eval_seconds = time.monotonic() - started
        checkpoints.save("last", trainer.state_dict(), epoch=0)
        trainer.load_state_dict(checkpoints.load("last"))
        size = (Path(scratch) / "last.pt").stat().st_size
        trainer.close()
    return [
        f"{config.variant}: {len(train):,} training and {len(val):,} validation images, {train.num_classes} classes",
        *trainer.notes,
        *steps, f"one eval step: {eval_seconds:.2f} s",
        f"checkpoint saved and loaded: {size / 1e6:.1f} MB",
        f"a run would take {config.epochs} epochs of {len(trainer.train_loader)} steps; nothing was kept",
    ]


def train_once(trainer, size):
    """Does one train step at `size` px; returns the line that says so."""
    trainer.step.resize(size)
    batch, started = next(iter(trainer.train_loader)), time.monotonic()
    trainer.step.train(batch, trainer.config.lr, 0, 0)
    loss = trainer.step.losses[0].item()
    shrunk = f" at {size} px" if len(trainer.step.sizes) > 1 else ""
    return f"one train step of {batch.valid} images{shrunk}: {time.monotonic() - started:.2f} s, loss {loss:.3f}"


def default_sinks(folder, console=None):
    """What a run shows and writes: console, log and metrics files, pictures drawn from these, TensorBoard with both."""
    from fasttrain.runs.sinks.console import console_sink
    from fasttrain.runs.sinks.files import FilesSink, LogSink
    from fasttrain.runs.sinks.pictures import PicturesSink
    from fasttrain.runs.sinks.tensorboard import TensorBoardSink

    console = console or console_sink()
    return [console, LogSink(folder), FilesSink(folder), PicturesSink(folder), TensorBoardSink(folder)]


def describe(trainer, folder, train, val):
    """The `start` event: what is trained on what, where and how."""
    config, runtime, model = trainer.config, trainer.runtime, trainer.step.model
    batch = next(iter(trainer.train_loader))
    example = trainer.step.normalize(batch.images[:1])
    return {
        "variant": config.variant, "config": config.to_dict(), "folder": Path(folder), "epochs": config.epochs,
        "sizes": config.train_sizes, "steps_per_epoch": len(trainer.train_loader), "train_images": len(train),
        "val_images": len(val), "num_classes": train.num_classes, "class_names": list(train.class_names),
        "fingerprints": trainer.data,
        "parameters": sum(p.numel() for p in model.parameters()), "device": str(runtime.device),
        "precision": runtime.precision, "compile": runtime.compile, "loader": trainer.loader_name,
        "notes": trainer.notes, "resumed_from": len(trainer.rows), "environment": versions(),
        "command": config.command(), "train_batch": (batch.images[:32].cpu().numpy(), batch.labels[:32].cpu().numpy()),
        "model_for_graph": (model, example),
    }


def summarize(trainer, status, started):
    """What a finished, interrupted or diverged run comes down to: the `finish` event and summary.json."""
    rows = trainer.rows
    best = max(rows, key=lambda row: row["val_top1"], default={})
    seconds = time.monotonic() - started
    speeds = [row["images_per_second"] for row in rows]
    waits = [row["data_wait_fraction"] for row in rows]
    speed = float(np.median(speeds)) if speeds else None
    memory = peak_memory_bytes(trainer.runtime.device)
    return {"status": status, "epochs": len(rows), "best_epoch": best.get("epoch"),
            "best_val_top1": best.get("val_top1"), "final": rows[-1] if rows else {}, "seconds": seconds,
            "images_per_second": speed, "mfu": utilization(trainer.step, rows) if status == "done" else None,
            "data_wait_fraction": float(np.median(waits)) if waits else None,
            "compile_seconds": trainer.step.compile_seconds,
            "confusion": trainer.confusion, "predictions": trainer.predictions(), "peak_memory_bytes": memory}


def utilization(step, rows):
    """Model FLOP utilisation (MFU): training's arithmetic as a share of what a large matrix product reaches, measured.

    The median over the epochs, each at its own image size. None where there is no memory left to measure it in.
    """
    try:
        ceiling = ceilings.matmul_flops(step.runtime.device, step.runtime.dtype)
    except (RuntimeError, MemoryError):
        return None
    flops = [row["images_per_second"] * step_cost(step, row.get("train_image_size")).flops for row in rows]
    return float(np.median(flops)) / ceiling
