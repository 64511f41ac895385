"""The events of a training run, and those who listen to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttrain.config import RunConfig
from fasttrain.errors import FasttrainError
from fasttrain.train.rows import Row, best_row

if TYPE_CHECKING:
    import numpy as np
    import torch

    from fasttrain.train.mistakes import Mistakes

# What a config set to `auto` came to, and what the data held: "run" in env.json.
FACTS = ("train_images", "val_images", "class_names", "fingerprints", "parameters", "device", "precision", "compile",
         "loader", "notes")


@dataclass(frozen=True)
class Start:
    """A run begins: what is trained on what, where and how.

    Attributes:
        config: with numbers for batch size and rate. folder: the run folder.
        fingerprints: of the `train` and the `val` images, equal for equal ones.
        device, precision, compile, loader: what every `auto` came to. notes: lines that say why.
        environment: versions and machine, see `environment.versions`.
        rows: the epochs that a resumed run builds on. step_in_epoch: the steps of the one after them that it has done.
        train_batch: images (uint8 [B, S, S, 3]) and labels ([B]) as the network gets them.
        model_for_graph: the model before it is compiled, and an input for it.
    """

    config: RunConfig
    folder: Path
    steps_per_epoch: int
    train_images: int
    val_images: int
    class_names: list[str]
    fingerprints: dict[str, str]
    parameters: int
    device: str
    precision: str
    compile: str
    loader: str
    notes: list[str]
    environment: dict[str, Any]
    rows: list[Row]
    step_in_epoch: int = 0
    train_batch: tuple[np.ndarray, np.ndarray] | None = None
    model_for_graph: tuple[torch.nn.Module, torch.Tensor] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def report(self) -> dict[str, Any]:
        """What env.json holds: the environment, and what the run found at its start."""
        return {**self.environment, "run": {key: getattr(self, key) for key in FACTS}}


class Progress(NamedTuple):
    """Where a run stands inside an epoch. Counts and times start anew with each phase."""

    phase: str  # "train" or "val"
    epoch: int  # from 1
    epochs: int
    step: int  # steps done
    steps: int  # steps of this phase
    images: int
    seconds: float
    data_wait_seconds: float


@dataclass(frozen=True)
class Epoch:
    """An epoch is over.

    Attributes:
        row: its line of `metrics.jsonl`, see `rows.COLUMNS`. rows: those of the run so far, this one last.
        steps: a dict of `step` (from 1, over the whole run), `loss`, `lr` for each of its steps.
    """

    row: Row
    rows: list[Row]
    steps: list[dict[str, float]]


@dataclass(frozen=True)
class Finish:
    """Training ended.

    Attributes:
        status: "done", "interrupted", "diverged" or "failed". rows: of all epochs.
        images_per_second, data_wait_fraction: medians over the epochs; None without any. mfu: see `utilization`; None
            unless done. seconds: since this process began.
        confusion: counts, int [classes, classes], a row for each true class; None before the first evaluation.
        predictions: of the last evaluation, a numpy array with the fields `label` and `predicted` for each validation
            image in order; or None.
        mistakes: returns the worst of the best weights, see `find_mistakes`; None unless done.
    """

    status: str
    rows: list[Row]
    seconds: float
    images_per_second: float | None
    mfu: float | None
    data_wait_fraction: float | None
    compile_seconds: float
    peak_memory_bytes: int
    confusion: np.ndarray | None
    predictions: np.ndarray | None
    mistakes: Callable[[], Mistakes | None] | None = None

    @property
    def best(self) -> Row | None:
        """The row with the highest validation top-1."""
        return best_row(self.rows)

    @property
    def final(self) -> Row | None:
        """The last epoch's row."""
        return self.rows[-1] if self.rows else None


class Sink:
    """Listens to a run: any of these may be overridden, none may change what the run does.

    Sinks know neither each other nor an order. A sink that draws a picture hands its path to `announce`, and all
    sinks get it by `picture` after the event that it was drawn in.
    """

    # Whether a run without this sink is worth nothing: then its errors end the run.
    essential = False
    # Whether its errors pass, and it makes up for what it missed: then it stays, and the first one is a warning.
    patient = False

    def start(self, start: Start) -> None:
        """Called once, before the first step."""

    def progress(self, progress: Progress) -> None:
        """Called often from inside the loop: has to return within microseconds, mostly."""

    def epoch(self, epoch: Epoch) -> None:
        """Called after each epoch."""

    def picture(self, path: Path) -> None:
        """Called with a PNG file of the run folder that was drawn or drawn anew."""

    def message(self, text: str, level: str = "info") -> None:
        """Called with something worth saying; `level` is "info" or "warning"."""

    def finish(self, finish: Finish) -> None:
        """Called when training ended, whichever way."""

    def close(self) -> None:
        """Called once at the very end, whatever happened."""

    def announce(self, path: Path) -> None:
        """Tells all sinks of a picture; does nothing outside of an EventLog, which replaces it."""


class EventLog(Sink):
    """Hands each event to a list of sinks, in order.

    A sink that fails is dropped with a warning and training goes on, for a picture is not worth a run; one that is
    `essential` passes its error on, one that is `patient` stays.
    """

    def __init__(self, sinks: Iterable[Sink] = ()):
        self.sinks, self.drawn, self.excused = list(sinks), [], []
        for sink in self.sinks:
            sink.announce = self.drawn.append

    def start(self, start: Start) -> None:
        self._each("start", start)

    def progress(self, progress: Progress) -> None:
        self._each("progress", progress)

    def epoch(self, epoch: Epoch) -> None:
        self._each("epoch", epoch)

    def message(self, text: str, level: str = "info") -> None:
        self._each("message", text, level)

    def finish(self, finish: Finish) -> None:
        self._each("finish", finish)

    def close(self) -> None:
        for sink in self.sinks:
            with contextlib.suppress(Exception):
                sink.close()
        self.sinks = []

    def _each(self, event, *args):
        for sink in list(self.sinks):
            try:
                getattr(sink, event)(*args)
            except Exception as error:
                if sink.essential:
                    raise
                if sink.patient and not isinstance(error, FasttrainError):
                    self._excuse(sink, error)
                else:
                    self._drop(sink, error)
        while self.drawn:
            self._each("picture", self.drawn.pop(0))

    def _excuse(self, sink, error):
        if sink not in self.excused:
            self.excused.append(sink)
            told = f"{type(sink).__name__}: {type(error).__name__}: {error}; what it misses is sent later"
            self.message(told, "warning")

    def _drop(self, sink, error):
        self.sinks.remove(sink)
        with contextlib.suppress(Exception):
            sink.close()
        name = type(sink).__name__
        self.message(f"{name} is off for the rest of this run: {type(error).__name__}: {error}", "warning")
