"""Runs a plan to its end, whatever happens to single runs, keeps ablation.json up to date and draws the report."""

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

from fasttrain.config import fit_to_data
from fasttrain.data import pack
from fasttrain.errors import ConfigError, DataError, FasttrainError, Interrupted
from fasttrain.format import duration
from fasttrain.runs import folder as run_folder
from fasttrain.runs.run import load_run
from fasttrain.runtime import resolve
from fasttrain.storage import OUT, Busy, Lock
from fasttrain.study import worker
from fasttrain.study.analysis.ablation import build_ablation, write_ablation
from fasttrain.study.analysis.collect import find_folders, read_runs
from fasttrain.study.forecast import Forecast, measure
from fasttrain.study.pages import write_report
from fasttrain.train.build import Job
from fasttrain.train.checkpoint import Checkpoints

UNFINISHED = ("to do", "unfinished")


def ablate(configs, folder, train=worker.train):
    """Trains what is left of a plan, one run after the other; returns (the content of ablation.json, the folder).

    Each run lives below `folder`, see `plan.plan`. Finished runs are skipped, interrupted ones continued, those that
    diverged stay as they are, those that failed are tried again. A run that fails is a row with its reason.
    Raises ConfigError where a folder holds a run of other settings, Interrupted after a signal, FasttrainError where no
    run of the plan is done in the end.
    """
    configs, _ = prepared(configs)
    study = Study(configs, Path(folder), train)
    with claimed(study.folder), worker.Stop().listening() as stop:
        study.run(stop)
        study.board.progress("drawing the report")
        write_report(study.ablation, study.runs, study.folder)
    return study.ablation, study.folder


def dry_run(configs, folder):
    """The lines that tell the plan: each run's state and, from a few real steps of each variant, how long it takes."""
    configs, splits = prepared(configs)
    forecast, lines, left = Forecast(), [], []
    for config in configs:
        now = state(config)
        if now in UNFINISHED:
            if forecast.key(config) not in forecast.seconds:
                forecast.learn(config, measure(Job(config, resolve(config), *splits)))
            left.append(forecast.of(config) * (1 - (saved_epochs(config) or 0) / config.epochs))
            now = f"{now:<12} {duration(left[-1]):>8}"
        lines.append(f"{name(config):<32} {now}")
    return [*lines, f"{len(configs)} runs in {folder}: {len(left)} to train, about {duration(sum(left))}"]


def prepared(configs):
    """(The configs with numbers for batch size and rate, the data's splits); ConfigError where one cannot be had."""
    splits = pack.open_splits(configs[0])
    fitted = [fit_to_data(config, len(splits[0])) for config in configs]
    for config in fitted:
        refuse_other(config, *splits)
    return fitted, splits


def refuse_other(config, train, val):
    """ConfigError where the run's folder holds one of other settings or images. The unreadable is left to the run."""
    with contextlib.suppress(DataError):
        difference = run_folder.differing_key(run_folder.saved_config(config.out), config)
        if difference:
            key, saved, wanted = difference
            raise ConfigError(f"{config.out}: holds a run with {key} {saved}, not {wanted}; choose another --out")
        if load_run(config.out).fingerprints not in (None, {"train": train.fingerprint, "val": val.fingerprint}):
            raise ConfigError(f"{config.out}: holds a run on other images than --data has; choose another --out")


def state(config):
    """How far the run of `config` is: "done", "diverged", or one of UNFINISHED."""
    try:
        status = load_run(config.out).status
    except DataError:
        return "to do"
    if status == "done" and (saved_epochs(config) or config.epochs) < config.epochs:
        return "unfinished"  # killed between its last row and its last checkpoint
    return "to do" if status == "empty" else status


def saved_epochs(config):
    """The whole epochs in the last checkpoint; None where there is none, as where a user deleted it."""
    try:
        return Checkpoints(Path(config.out) / "checkpoints").manifest()["last.pt"]["epoch"]
    except (DataError, KeyError):
        return None


def name(config):
    """`resnet18_origin fast-0`."""
    return f"{config.variant} {Path(config.out).name}"


@contextlib.contextmanager
def claimed(folder):
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
    """A plan that is being carried out. failures: {folder: reason} of this session. ablation: what was written last."""

    def __init__(self, configs, folder, train):
        self.configs, self.folder, self.train = configs, folder, train
        self.board, self.forecast = Board(), Forecast()
        self.failures, self.runs, self.ablation = {}, [], None

    def run(self, stop):
        """Trains every run that is to do."""
        states = {config.out: state(config) for config in self.configs}
        todo = [config for config in self.configs if states[config.out] in UNFINISHED]
        self.board.say(f"{len(self.configs)} runs in {self.folder}: {len(self.configs) - len(todo)} finished before, "
                       f"{len(todo)} to train")
        for config in self.configs:
            if states[config.out] == "done":
                self.forecast.learn(config, sum(row["seconds"] for row in load_run(config.out).rows))
        self.write()
        for number, config in enumerate(todo):
            self.train_one(config, todo[number + 1:], stop)
        if all(state(config) != "done" for config in self.configs):
            reason = next(iter(self.failures.values()), "all diverged")
            raise FasttrainError(f"{self.folder}: none of the {len(self.configs)} runs is done: {reason}")

    def train_one(self, config, rest, stop):
        """Trains one run, tells how it ended, brings ablation.json up to date; raises Interrupted after a signal."""
        place = f"[{len(self.configs) - len(rest)}/{len(self.configs)}] {name(config)}"
        started, resumed = time.monotonic(), saved_epochs(config)

        def show(progress):
            left, passed = progress["left"], time.monotonic() - started
            if self.forecast.key(config) not in self.forecast.seconds:
                self.forecast.learn(config, passed + left)
            others = self.forecast.left(rest)
            self.board.progress(f"{place}: epoch {progress['epoch']}/{progress['epochs']}, {duration(left)} left; "
                                f"study {duration(left + others)}")

        self.board.progress(f"{place}: starting")
        status, reason = self.train(config, stop, show)
        if status == "done" and not resumed:
            self.forecast.learn(config, time.monotonic() - started)
        elif status in ("failed", "interrupted"):
            self.failures[config.out] = reason or "stopped by a signal"
        if stop.received:
            self.failures.pop(config.out, None)
        self.write()
        if stop.received and (rest or status != "done"):
            raise Interrupted(f"{stop.received.name}: {config.out} is saved; the same command continues the study",
                              exit_code=130 if stop.received.name == "SIGINT" else 75)
        self.tell(place, config, status, reason, rest, time.monotonic() - started)

    def tell(self, place, config, status, reason, rest, seconds):
        """One line on how a run ended."""
        result = f", top-1 {load_run(config.out).final['val_top1']:.2f} %" if status == "done" else ""
        why = f" ({reason})" if reason else ""
        others = self.forecast.left(rest)
        left = f"; {len(rest)} to go" + (f", {duration(others)}" if others else "") if rest else ""
        self.board.say(f"{place}: {status}{why}{result} in {duration(seconds)}{left}")

    def write(self):
        """Writes ablation.json on all runs in the folder and on those of the plan that have nothing to show yet."""
        folders, _ = find_folders([self.folder])
        self.runs, left_out = read_runs(folders)
        known = {str(run.folder) for run in self.runs}
        absent = [config for config in self.configs if config.out not in known]
        others = [{"arch": config.arch, "head": config.head, "seed": config.seed, "recipe": config.recipe,
                   "status": "failed" if config.out in self.failures else "to do",
                   "reason": self.failures.get(config.out), "epochs": 0, "final": None, "best": None,
                   "folder": config.out} for config in absent]
        planned = tuple(f"{config.out}:" for config in absent)
        left_out = [line for line in left_out if not line.startswith(planned)]
        self.ablation = build_ablation(self.runs, others, left_out, self.failures)
        write_ablation(self.ablation, self.folder)


class Board:
    """Standard output: lines, and on a terminal one below them that changes."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb"

    def say(self, line):
        """A line that stays."""
        print(("\r\x1b[K" if self.live else "") + line, file=self.stream, flush=True)

    def progress(self, text):
        """Where the study stands now; only for terminals."""
        if self.live:
            width = shutil.get_terminal_size().columns
            print("\r\x1b[K" + text[:width - 1], end="", file=self.stream, flush=True)
