"""Experiment trackers: each file sends a run to one, through that tracker's own package and settings."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from fasttrain.registry import TRACKERS
from fasttrain.storage import write_atomically
from fasttrain.train.events import Epoch, Finish, Sink, Start
from fasttrain.train.rows import finite
from fasttrain.train.status import FAILED

PROJECT = "fasttrain"  # where a tracker sorts runs by project, unless its own settings name another


class Tracker(Sink):
    """Sends every row, the configuration, the pictures and the final status to a tracker.

    The run folder keeps the tracker's id of the run, so that a resumed run goes on there. Where the tracker cannot be
    reached, that is one warning, see `EventLog`, and each later event sends what is missing.
    """

    name: ClassVar[str]
    patient = True

    @abstractmethod
    def open(self, start: Start, known: str | None) -> str:
        """Begins a run, or goes on with the one that has the id `known`; returns its id."""

    @abstractmethod
    def log(self, values: dict[str, float], epoch: int) -> None:
        """Sends the numbers of an epoch."""

    @abstractmethod
    def image(self, path: Path) -> None:
        """Sends a PNG file."""

    @abstractmethod
    def end(self, status: str) -> None:
        """Ends the run with a status of `train.status`, in the tracker's own words."""

    def start(self, start: Start) -> None:
        self.begun, self.rows, self.sent, self.pictures, self.status = start, start.rows, None, {}, FAILED
        self.send()

    def send(self) -> None:
        """Sends all rows that the tracker has not got yet."""
        if self.sent is None:
            self.sent = self.connect()
        while self.sent < len(self.rows):
            self.row(self.rows[self.sent])
            self.sent += 1

    def connect(self) -> int:
        """Opens the tracker's run; returns how many rows it has."""
        kept = self.begun.folder / f"{self.name}.id"
        known = kept.read_text(encoding="utf-8").strip() if kept.exists() else None
        found = self.open(self.begun, known)
        if found == known:
            return len(self.begun.rows)
        write_atomically(kept, found + "\n")
        return 0

    def epoch(self, epoch: Epoch) -> None:
        self.rows = epoch.rows
        self.send()

    def row(self, row: dict[str, Any]) -> None:
        self.log({key: float(value) for key, value in row.items()
                  if isinstance(value, (int, float)) and finite(value) is not None}, row["epoch"])

    def picture(self, path: Path) -> None:
        self.pictures[path] = None

    def finish(self, finish: Finish) -> None:
        self.status = finish.status

    def close(self) -> None:
        try:
            self.send()
            for path in self.pictures:
                self.image(path)
        finally:  # what cannot be sent costs the run's status nothing
            self.end(self.status)


def trackers(names: list[str]) -> list[Tracker]:
    """Returns a new Tracker for each name."""
    return [TRACKERS.load(name)() for name in names]
