"""The commands as functions: what `fasttrain run` does is `run(RunConfig(...))` in a notebook."""

import json
import tempfile
import time
from pathlib import Path

from fasttrain import runtime as runtimes
from fasttrain.config import fit_to_data
from fasttrain.data.pack import open_pack, open_splits
from fasttrain.data.sources import open_source
from fasttrain.errors import ConfigError, DataError, DivergedError, Interrupted
from fasttrain.observe.environment import versions
from fasttrain.observe.events import EventLog, Sink
from fasttrain.observe.files import write_rows
from fasttrain.registry import unknown
from fasttrain.report.load import load_run
from fasttrain.train import run_folder
from fasttrain.train.checkpoint import Checkpoints, disk_bytes
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.trainer import Trainer, summarize


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


def profile(config, steps=30):
    """Measures where a training step of `config` spends its time: (`Profile`, folder of what was written).

    The folder is `config.out`, default `profiles/<variant>`; it gets profile.json, details.json, trace.json.gz and two
    pictures. Raises ConfigError where it cannot be written or the batch does not fit into memory.
    """
    from fasttrain.observe.profile import profile as measure
    from fasttrain.report.profile import draw_phases, draw_roofline

    folder = Path(config.out or Path("profiles") / config.variant)
    runtime = runtimes.resolve(config)
    train, val = open_splits(config)
    config = fit_to_data(config, len(train))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with runtimes.memory_errors(config.batch_size):
            trainer = Trainer(config, runtime, train, val, None, EventLog([Sink()]))
            trainer.warm_up()
            found = measure(trainer.step, trainer.train_loader, trainer.loader_name, steps, folder / "trace.json.gz")
            trainer.close()
        for name, values in (("profile", found.result), ("details", {**found.details, "environment": versions()})):
            (folder / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        draw_phases(found, folder / "phases.png")
        draw_roofline(found, folder / "roofline.png")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write: {error.strerror or error}; choose another --out") from None
    return found, folder


def report(paths, out="report"):
    """Writes ablation.json, report.html and report.md on the runs in and below `paths` into the folder `out`.

    Returns (the content of ablation.json, the folder). What is no whole run, or was validated on other images than
    most, is left out and named in its `left_out`. DataError where nothing is left.
    """
    from fasttrain.report.ablation import build_ablation, write_ablation
    from fasttrain.report.collect import find_folders, read_runs
    from fasttrain.report.pages import write_report

    folders, missing = find_folders(paths)
    runs, damaged = read_runs(folders)
    left_out = [*missing, *damaged]
    if not runs:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise DataError(f"nothing to report on: {left_out[0]}{more}")
    ablation = build_ablation(runs, left_out=left_out)
    write_report(ablation, runs, out)
    write_ablation(ablation, out)
    return ablation, Path(out)


def preview(location=None, image_size=64, split="train", out="preview.png"):
    """Draws images of every class in turn from the "train" or "val" split into the PNG `out`; returns its Path."""
    from fasttrain.report.pictures import draw_preview

    if split not in ("train", "val"):
        raise ConfigError(f"--split: {unknown('split', split, ['train', 'val'])}")
    images = open_pack(open_source(location), image_size).split(split)  # all of it: row i is image i
    try:
        draw_preview(images.pixels, images.labels, images.class_names, Path(out),
                     f"{location or 'default data'}, {split}: {len(images):,} images, {images.num_classes} classes")
    except OSError as error:
        raise ConfigError(f"{out}: cannot write: {error.strerror or error}") from None
    return Path(out)


def default_sinks(folder, console=None):
    """What a run shows and writes: console, log and metrics files, pictures drawn from these, TensorBoard with both."""
    from fasttrain.observe.console import console_sink
    from fasttrain.observe.files import FilesSink, LogSink
    from fasttrain.observe.tensorboard import TensorBoardSink
    from fasttrain.report.sink import PicturesSink

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

