"""Trains the runs of a plan one by one, whatever happens to single ones, keeps ablation.json up to date, reports."""

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from fasttrain.config import RunConfig, fit_to_data
from fasttrain.data import pack
from fasttrain.data.split import Split
from fasttrain.errors import ConfigError, DataError, FasttrainError, Interrupted
from fasttrain.format import duration
from fasttrain.runs.run import Run, load_run
from fasttrain.runs.settings import differing_key, saved_config
from fasttrain.runtime import resolve
from fasttrain.storage import OUT, Busy, Lock
from fasttrain.study import worker
from fasttrain.study.analysis.ablation import write_ablation
from fasttrain.study.analysis.choose import build
from fasttrain.study.analysis.collect import find_folders, read_runs
from fasttrain.study.forecast import Forecast, run_seconds
from fasttrain.study.pages import write_report
from fasttrain.train.build import Job
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.status import DONE, FAILED, INTERRUPTED, TO_DO

UNFINISHED = (TO_DO, INTERRUPTED)


def ablate(configs: Sequence[RunConfig], folder: str | Path, train: Callable = worker.train,
           jobs: int = 1) -> tuple[dict, Path]:
    """Trains what is left of a plan, `jobs` runs at a time; returns the content of ablation.json and the folder.

    Each run lives below `folder`, see `plan.plan`. Skips finished runs, continues interrupted ones, leaves diverged
    ones as they are and tries failed ones again. A run that fails is a row with its reason. train: see `worker.train`.
    Raises ConfigError where a folder holds a run of other settings, Interrupted after a signal, FasttrainError where no
    run of the plan is done in the end.
    """
    configs, _ = prepared(configs)
    study = Study(configs, Path(folder), train, jobs)
    with claimed(study.folder), worker.Stop().listening() as stop:
        study.run(stop)
        study.board.update("drawing the report")
        write_report(study.ablation, study.runs, study.folder)
    return study.ablation, study.folder


def dry_run(configs: Sequence[RunConfig], folder: str | Path) -> list[str]:
    """Returns the plan as lines: the status of each run and how long it takes, from a few real steps of its variant."""
    configs, splits = prepared(configs)
    forecast, lines, left = Forecast(), [], []
    for config, own in zip(configs, splits, strict=True):
        told = status_of(config)
        if told in UNFINISHED:
            if not forecast.knows(config):
                forecast.learn(config, run_seconds(Job(config, resolve(config), *own).settled()))
            left.append(forecast.of(config) * (1 - (saved_epochs(config) or 0) / config.epochs))
            told = f"{told:<12} {duration(left[-1]):>8}"
        lines.append(f"{name(config):<32} {told}")
    return [*lines, f"{len(configs)} runs in {folder}: {len(left)} to train, about {duration(sum(left))}"]


def prepared(configs: Sequence[RunConfig]) -> tuple[list[RunConfig], list[tuple[Split, Split]]]:
    """Returns the configs with numbers for batch size and rate, and the splits of the data of each.

    ConfigError where a run folder is taken, see `refuse_other`.
    """
    opened = {limit: pack.open_splits(configs[0].replace(limit_train=limit))
              for limit in dict.fromkeys(config.limit_train for config in configs)}
    splits = [opened[config.limit_train] for config in configs]
    fitted = [fit_to_data(config, len(train)) for config, (train, _) in zip(configs, splits, strict=True)]
    for config, own in zip(fitted, splits, strict=True):
        refuse_other(config, *own)
    return fitted, splits


def refuse_other(config: RunConfig, train: Split, val: Split) -> None:
    """Raises ConfigError where the run's folder holds one of other settings or images; unreadable ones are left to the
    run."""
    with contextlib.suppress(DataError):
        difference = differing_key(saved_config(config.out), config)
        if difference:
            key, saved, wanted = difference
            raise ConfigError(f"{config.out}: holds a run with {key} {saved}, not {wanted}; choose another --out")
        if load_run(config.out).fingerprints not in (None, {"train": train.fingerprint, "val": val.fingerprint}):
            raise ConfigError(f"{config.out}: holds a run on other images than --data has; choose another --out")


def status_of(config: RunConfig) -> str:
    """Returns how far the run of `config` is: DONE, DIVERGED, or one of UNFINISHED."""
    try:
        run = load_run(config.out)
    except DataError:
        return TO_DO
    if run.status == DONE and (saved_epochs(config) or len(run.rows)) < len(run.rows):
        return INTERRUPTED  # killed between its last row and its last checkpoint
    return run.status


def saved_epochs(config: RunConfig) -> int | None:
    """Returns the whole epochs in the last checkpoint; None where there is none: a user may have deleted it."""
    try:
        return Checkpoints(Path(config.out) / "checkpoints").epochs()
    except DataError:
        return None


def name(config: RunConfig) -> str:
    """Returns what lines call a run, such as `resnet18_origin fast-0`."""
    return " ".join(Path(config.out).parts[-2:])


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes the folder this process's own; ConfigError while another study runs in it, or where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / ".lock")
        lock.take()
    except Busy as holder:
        raise ConfigError(f"{folder}: another study runs here ({holder}); {OUT}") from None
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write: {error.strerror or error}; {OUT}") from None
    try:
        yield
    finally:
        lock.release()


class Study:
    """A plan that is being carried out.

    failures: reasons by run folder, of this call. runs: those that could be read last. ablation: what was written last.
    """

    def __init__(self, configs: Sequence[RunConfig], folder: Path, train: Callable, jobs: int = 1):
        self.configs, self.folder, self.train, self.jobs = configs, folder, train, jobs
        self.telling = threading.RLock()  # runs that are trained side by side tell one after the other
        self.board, self.forecast = Board(), Forecast()
        self.failures: dict[str, str] = {}
        self.runs: list[Run] = []
        self.ablation: dict = {}

    def run(self, stop: worker.Stop) -> None:
        """Trains every run that is not finished."""
        statuses = {config.out: status_of(config) for config in self.configs}
        todo = [config for config in self.configs if statuses[config.out] in UNFINISHED]
        self.board.say(f"{len(self.configs)} runs in {self.folder}: {len(self.configs) - len(todo)} finished before, "
                       f"{len(todo)} to train")
        for config in self.configs:
            if statuses[config.out] == DONE:
                self.forecast.learn(config, sum(row["seconds"] for row in load_run(config.out).rows))
        self.write()
        turns = [(config, todo[number + 1:], stop) for number, config in enumerate(todo)]
        if self.jobs > 1:
            with ThreadPoolExecutor(self.jobs) as pool:
                list(pool.map(self.train_one, *zip(*turns, strict=True)))
        for turn in turns if self.jobs == 1 else ():
            self.train_one(*turn)
        if all(status_of(config) != DONE for config in self.configs):
            reason = next(iter(self.failures.values()), "all diverged")
            raise FasttrainError(f"{self.folder}: none of the {len(self.configs)} runs is done: {reason}")

    def train_one(self, config: RunConfig, rest: Sequence[RunConfig], stop: worker.Stop) -> None:
        """Trains one run, brings ablation.json up to date, tells how it ended; raises Interrupted after a signal."""
        if stop.received:  # while others run beside it
            return
        place = f"[{len(self.configs) - len(rest)}/{len(self.configs)}] {name(config)}"
        started, resumed = time.monotonic(), saved_epochs(config)

        def show(progress):
            left, passed = progress["left"], time.monotonic() - started
            with self.telling:
                if not self.forecast.knows(config):
                    self.forecast.learn(config, passed + left)
                others = self.forecast.left(rest)
                self.board.update(f"{place}: epoch {progress['epoch']}/{progress['epochs']}, {duration(left)} left; "
                                  f"study {duration(left + others)}")

        self.board.update(f"{place}: starting")
        status, reason = self.train(config, stop, show)
        with self.telling:
            if status == DONE and not resumed:
                self.forecast.learn(config, time.monotonic() - started)
            elif status in (FAILED, INTERRUPTED):
                self.failures[config.out] = reason or "stopped by a signal"
            if stop.received:
                self.failures.pop(config.out, None)
            self.write()
            if stop.received and (rest or status != DONE):
                raise Interrupted(f"{stop.received.name}: {config.out} is saved; the same command continues the study",
                                  stop.received)
            self.tell(place, config, status, reason, rest, time.monotonic() - started)

    def tell(self, place: str, config: RunConfig, status: str, reason: str | None, rest: Sequence[RunConfig],
             seconds: float) -> None:
        """Prints one line on how a run ended."""
        result = f", top-1 {load_run(config.out).final['val_top1']:.2f} %" if status == DONE else ""
        why = f" ({reason})" if reason else ""
        others = self.forecast.left(rest)
        left = f"; {len(rest)} to go" + (f", {duration(others)}" if others else "") if rest else ""
        self.board.say(f"{place}: {status}{why}{result} in {duration(seconds)}{left}")

    def write(self) -> None:
        """Writes ablation.json about all runs in the folder and those of the plan that have nothing to show yet."""
        folders, _ = find_folders([self.folder])
        self.runs, left_out = read_runs(folders)
        known = {str(run.folder) for run in self.runs}
        absent = [config for config in self.configs if config.out not in known]
        planned = tuple(f"{config.out}:" for config in absent)
        left_out = [line for line in left_out if not line.startswith(planned)]
        self.ablation = build(self.runs, absent, left_out, self.failures)
        write_ablation(self.ablation, self.folder)


class Board:
    """Standard output: lines that stay and, on a terminal, one below them that changes."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb"

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        print(("\r\x1b[K" if self.live else "") + line, file=self.stream, flush=True)

    def update(self, text: str) -> None:
        """Shows where the study stands now; only on terminals."""
        if self.live:
            width = shutil.get_terminal_size().columns
            print("\r\x1b[K" + text[:width - 1], end="", file=self.stream, flush=True)
