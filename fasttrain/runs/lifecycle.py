"""A run from start to finish: what `fasttrain run` does is `run(RunConfig(...))` in a notebook."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from fasttrain import launch
from fasttrain.config import RunConfig
from fasttrain.data.batch import Batch
from fasttrain.data.mapped import tell_bus_errors
from fasttrain.environment import versions
from fasttrain.errors import DataError, DivergedError, Interrupted
from fasttrain.format import count
from fasttrain.models.own import give
from fasttrain.perf import ceilings
from fasttrain.perf.cost import step_cost
from fasttrain.processes import Processes, joined
from fasttrain.runs import folder as run_folder
from fasttrain.runs.folder import RunFolder
from fasttrain.runs.run import Run, damage
from fasttrain.runtime import memory_errors
from fasttrain.train.build import Job, build
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.events import EventLog, Finish, Sink, Start
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.metrics import prediction_table
from fasttrain.train.mistakes import Mistakes, find_mistakes
from fasttrain.train.recovery import recover
from fasttrain.train.rows import Row
from fasttrain.train.status import DIVERGED, DONE, FAILED, INTERRUPTED
from fasttrain.train.step import Step
from fasttrain.train.timing import peak_memory_bytes
from fasttrain.train.trainer import Trainer
from fasttrain.train.weights import read_weights

RESTART_PATIENCE = 10  # seconds that a restarted run waits for the one that crashed to let go of its folder


def run(config: RunConfig, sinks: Iterable[Sink] | None = None, console: Sink | None = None,
        callbacks: Iterable[Sink] = (), model: nn.Module | Callable[..., nn.Module] | None = None) -> Run:
    """Trains the variant that `config` describes and returns its Run.

    model: a network, or a factory of one, in place of `config.arch`: the run trains a copy of it, from its weights,
    and resumes when given one with the same names and shapes of weights.
    `callbacks` listen beside the console and the files that a run folder gets; `sinks` replaces all of these, `console`
    only the console. Raises ConfigError, DataError, DivergedError, or Interrupted after a signal; each has its
    `exit_code`.

    Several processes that torchrun started share the run; the first one alone claims, writes, saves and prints.
    """
    if model is not None:
        config = config.replace(arch=give(model))
    with joined(config) as processes:
        return run_shared(config, processes, sinks, console, callbacks)


def run_shared(config: RunConfig, processes: Processes, sinks: Iterable[Sink] | None, console: Sink | None,
               callbacks: Iterable[Sink]) -> Run:
    """Does what `run` says, in each of the processes that share the run."""
    tell_bus_errors()
    started, first = time.monotonic(), processes.first
    processes.together(lambda: first and refuse(config))
    job = build_in_turn(config, processes)
    folder, threads = claim(job)
    own = default_sinks(folder.path, console) if sinks is None else sinks
    events = EventLog([*own, *callbacks] if first else ())
    try:
        def warn(text):
            events.message(text, "warning")

        with StopFlag(once=processes.size > 1).listening() as stop, memory_errors(job.config.batch_size):
            job = job.settled(threads, warn)
            if first:
                folder.keep_threads(job.config.threads)
            trainer = job.trainer(events, folder.checkpoints, new=not folder.resumed)
            if folder.resumed:
                continue_from(folder, trainer, warn, has_files=sinks is None)
            start = describe(job, trainer, folder.path)
            events.start(start)
            train_to_the_end(trainer, events, started, stop)
    finally:
        events.close()
        folder.release()
    return Run(folder.path, job.config, trainer.rows, start.report)


def refuse(config: RunConfig) -> None:
    """Raises what speaks against a run before its data is opened, which may take long."""
    run_folder.refuse_taken(config)
    if config.weights and config.resume == "never":
        read_weights(config.weights)


def build_in_turn(config: RunConfig, processes: Processes) -> Job:
    """Returns the job; data are packed once on each disk, and the first process says so."""
    say = print if processes.first else None
    return processes.in_turn(lambda: build(config, say, processes))


def claim(job: Job) -> tuple[RunFolder, int | None]:
    """Returns the run's folder, which the first process has claimed, and the threads that a resumed run had so far."""
    def attempt():
        until = time.monotonic() + (RESTART_PATIENCE if launch.restarted() else 0)
        while mine:
            try:
                return run_folder.claimed(job.config, job.room)
            except run_folder.Taken:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    mine = job.processes.first
    folder = job.processes.together(attempt)
    if mine:
        launch.leave("folder", str(folder.path.absolute()))
    path, resumed, threads = job.processes.share(folder and (folder.path, folder.resumed, folder.threads))
    return folder or RunFolder(path, resumed), threads


def continue_from(folder: RunFolder, trainer: Trainer, warn: Callable[[str], None], has_files: bool) -> None:
    """Puts the trainer where the run stopped, and warns of each file that is damaged and written anew.

    has_files: whether the run writes more than checkpoints and its configuration.
    """
    processes = trainer.processes
    state = processes.together(lambda: recover(folder.checkpoints, warn) if processes.first else None)
    trainer.load_state_dict(processes.share(state))
    if not processes.first:
        return
    if folder.damage:
        warn(folder.damage)
    for line in damage(folder.path, trainer.rows) if has_files else ():
        warn(line)


def train_to_the_end(trainer: Trainer, events: EventLog, started: float, stop: StopFlag) -> None:
    """Trains to the end and emits the finish event, whichever way it ends."""
    status = FAILED
    try:
        trainer.fit(stop)
        status = DONE
    except Interrupted:
        status = INTERRUPTED
        raise
    except DivergedError:
        status = DIVERGED
        raise
    finally:
        if trainer.processes.first:
            events.finish(summarize(trainer, status, started))
        trainer.close()


def dry_run(config: RunConfig) -> list[str]:
    """Builds everything, does one train step, one eval step, one save and load; returns the lines that say so.

    Of several processes the first one returns them.
    """
    with joined(config) as processes:
        lines = rehearse(build_in_turn(config, processes).settled())
        return lines if processes.first else []


def rehearse(job: Job) -> list[str]:
    """Does what `dry_run` says."""
    with tempfile.TemporaryDirectory() as scratch, memory_errors(job.config.batch_size):
        trainer = job.trainer(checkpoints=Checkpoints(scratch))
        trainer.warm_up()
        batch, val_batch = trainer.first_batch(), next(iter(trainer.val_loader))
        images = trainer.train_loader.plan.size(0)
        steps = [train_once(trainer.step, batch, images, size) for size in trainer.step.sizes]
        started = time.monotonic()
        trainer.step.evaluate(val_batch)
        job.runtime.synchronize()
        eval_seconds = time.monotonic() - started
        trainer.checkpoints.save("last", trainer.state_dict())
        trainer.load_state_dict(trainer.checkpoints.load("last"))
        size = (Path(scratch) / "last.pt").stat().st_size
        trainer.close()
    config = job.config
    return [
        f"{config.variant}: {len(job.train):,} training and {len(job.val):,} validation images, "
        f"{count(job.train.num_classes, 'class')}",
        *trainer.notes,
        *steps, f"one eval step: {eval_seconds:.2f} s",
        f"checkpoint saved and loaded: {size / 1e6:.1f} MB",
        f"a run would take {count(config.epochs, 'epoch')} of {count(len(trainer.train_loader), 'step')}; "
        "nothing was kept",
    ]


def train_once(step: Step, batch: Batch, images: int, size: int) -> str:
    """Does one train step of `images` images at `size` px; returns the line that says so."""
    step.size, started = size, time.monotonic()
    step.train(batch, step.config.lr, 0, 0)
    loss = step.losses[0].item()
    shrunk = f" at {size} px" if len(step.sizes) > 1 else ""
    return f"one train step of {images} images{shrunk}: {time.monotonic() - started:.2f} s, loss {loss:.3f}"


def default_sinks(folder: Path, console: Sink | None = None) -> list[Sink]:
    """Returns what shows and writes a run: console, log, metrics, pictures, TensorBoard."""
    from fasttrain.runs.sinks.console import console_sink
    from fasttrain.runs.sinks.files import FilesSink, LogSink
    from fasttrain.runs.sinks.pictures import PicturesSink
    from fasttrain.runs.sinks.tensorboard import TensorBoardSink

    return [console or console_sink(), LogSink(folder), FilesSink(folder), PicturesSink(folder),
            TensorBoardSink(folder)]


def describe(job: Job, trainer: Trainer, folder: Path) -> Start:
    """Returns the start event: what is trained on what, where and how."""
    runtime, step, batch = job.runtime, trainer.step, trainer.first_batch()
    return Start(
        config=job.config, folder=Path(folder), steps_per_epoch=len(trainer.train_loader),
        train_images=len(job.train), val_images=len(job.val), class_names=list(job.train.class_names),
        fingerprints=trainer.data, parameters=sum(p.numel() for p in step.model.parameters()),
        device=str(runtime.device), precision=runtime.precision, compile=runtime.compile, loader=trainer.loader_name,
        notes=trainer.notes, environment=versions(), rows=list(trainer.rows), step_in_epoch=trainer.step_in_epoch,
        train_batch=(batch.images[:32].cpu().numpy(), batch.labels[:32].cpu().numpy()),
        model_for_graph=(step.model, step.normalize(batch.images[:1])))


def summarize(trainer: Trainer, status: str, started: float) -> Finish:
    """Returns the finish event of a run that ended by `status` and began at `started`, `time.monotonic()`."""
    rows = trainer.rows
    return Finish(
        status=status, rows=rows, seconds=time.monotonic() - started,
        images_per_second=median(rows, "images_per_second"), data_wait_fraction=median(rows, "data_wait_fraction"),
        mfu=utilization(trainer.step, rows) if status == DONE else None,
        compile_seconds=trainer.step.compile_seconds, peak_memory_bytes=peak_memory_bytes(trainer.runtime.device),
        confusion=trainer.confusion, predictions=predictions(trainer),
        mistakes=partial(mistakes, trainer) if status == DONE else None)


def predictions(trainer: Trainer) -> np.ndarray | None:
    """Returns `prediction_table` of the last evaluation; None before that."""
    labels, predicted = trainer.val_loader.spec.split.labels, trainer.predicted
    return None if predicted is None else prediction_table(labels, predicted)


def mistakes(trainer: Trainer) -> Mistakes | None:
    """Returns the worst mistakes of the run's best weights; None before an evaluation and where nothing loads."""
    if trainer.predicted is None:
        return None
    try:
        return find_mistakes(trainer.checkpoints.folder.parent, trainer.val_loader.spec.split, trainer.predicted,
                             trainer.runtime)
    except (DataError, RuntimeError, MemoryError):  # a picture is worth no error at the end of a run
        return None


def median(rows: list[Row], key: str) -> float | None:
    """Returns the median of a column; None without rows."""
    return float(np.median([row[key] for row in rows])) if rows else None


def utilization(step: Step, rows: list[Row]) -> float | None:
    """Returns the model FLOP utilisation (MFU): training's arithmetic as a share of a large matrix product's, measured.

    The median over the epochs, each at its own image size. None where there is no memory left to measure it in.
    """
    try:
        ceiling = ceilings.matmul_flops(step.runtime.device, step.runtime.dtype) * step.processes.size
    except (RuntimeError, MemoryError):
        return None
    flops = [row["images_per_second"] * step_cost(step, row.get("train_image_size")).flops for row in rows]
    return float(np.median(flops)) / ceiling
