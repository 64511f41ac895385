"""One run of a race: in a process of its own, timed from the start of that process to its last validation."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from fasttrain.config import RunConfig
from fasttrain.data.split import Split
from fasttrain.errors import FasttrainError, Interrupted
from fasttrain.perf.cost import training_cost
from fasttrain.runs.run import load_run
from fasttrain.runtime import resolve
from fasttrain.storage import write_atomically
from fasttrain.study import worker
from fasttrain.train.status import DONE


@dataclass(frozen=True)
class Trial:
    """What one run came to.

    top1: validation top-1 in percent after the last epoch. seconds: from the start of the process to the last
    validation, without compile_seconds. pflop: the arithmetic of its training steps, in 10^15 operations.
    """

    seed: int
    top1: float
    seconds: float
    compile_seconds: float
    pflop: float


def trial(config: RunConfig, train: Split, stop: worker.Stop) -> Trial:
    """Returns the Trial of a config, from its run folder if it was finished there, else by training it anew.

    A run that was interrupted starts again: its time could not be told. Raises Interrupted after a signal,
    FasttrainError for a run that fails.
    """
    kept = Path(config.out) / "trial.json"
    if kept.is_file():
        return Trial(**json.loads(kept.read_text(encoding="utf-8")))
    shutil.rmtree(config.out, ignore_errors=True)
    seconds = train_timed(config, stop)
    final = load_run(config.out).final
    found = Trial(config.seed, final["val_top1"], seconds - final["compile_seconds"], final["compile_seconds"],
                  pflop(config, train))
    write_atomically(kept, json.dumps(asdict(found), indent=1))
    return found


def train_timed(config: RunConfig, stop: worker.Stop) -> float:
    """Trains in a new process; returns the seconds from its start to its last validation."""
    started, seconds = time.monotonic(), {}

    def validated(epoch: int) -> None:
        seconds[epoch] = time.monotonic() - started

    status, reason = worker.train(config, stop, progress=lambda _: None, validated=validated)
    if stop.received:
        raise Interrupted(f"{stop.received.name}: the trials that are finished are kept; the same command goes on",
                          stop.received)
    if status != DONE:
        raise FasttrainError(f"{config.out}: {reason}")
    return seconds[config.epochs]


def pflop(config: RunConfig, train: Split) -> float:
    """Returns the arithmetic of a whole run's training steps, forward and backward, in 10^15 operations."""
    runtime = resolve(config)
    images = len(train) // config.batch_size * config.batch_size if config.drop_last else len(train)
    each = [training_cost(config.arch, config.head, train.num_classes, size, config.stem, runtime.dtype, False).flops
            for size in config.train_sizes]
    return images * sum(each) / 1e15
