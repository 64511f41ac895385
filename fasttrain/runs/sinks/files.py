"""The files of a run folder: `log.txt`, `metrics.jsonl`, `results.csv`, `env.json`, `predictions.npy`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from fasttrain import seal
from fasttrain.runs.sinks.console import TextSink
from fasttrain.storage import write_atomically, writing
from fasttrain.train.events import Epoch, Finish, Sink, Start
from fasttrain.train.rows import COLUMNS, Row, finite, row_to_json


class LogSink(TextSink):
    """`log.txt`: what the console says, plain. A resumed run goes on below what is there."""

    def __init__(self, folder: Path):
        path = folder / "log.txt"
        with writing(path):
            super().__init__(path.open("a", encoding="utf-8", errors="backslashreplace"))

    def close(self) -> None:
        self.stream.close()


def write_rows(folder: Path, rows: list[Row]) -> None:
    """Writes the metrics.jsonl of a run folder anew."""
    write_atomically(folder / "metrics.jsonl", "".join(row_to_json(row) + "\n" for row in rows))


class FilesSink(Sink):
    """`metrics.jsonl`, `results.csv`, `env.json`, and `predictions.npy` at the end.

    A resumed run writes the rows of its checkpoint anew: the file's last lines may have gone with the power.
    """

    essential = True

    def __init__(self, folder: Path):
        self.folder = folder
        self.metrics = None

    def start(self, start: Start) -> None:
        write_rows(self.folder, start.rows)
        write_atomically(self.folder / "env.json", seal.seal_json(start.report))
        with writing(self.folder / "metrics.jsonl"):
            self.metrics = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._write_table(start.rows)

    def epoch(self, epoch: Epoch) -> None:
        with writing(self.folder / "metrics.jsonl"):
            self.metrics.write(row_to_json(epoch.row) + "\n")
            self.metrics.flush()
        self._write_table(epoch.rows)

    def finish(self, finish: Finish) -> None:
        import numpy as np

        if finish.predictions is not None:
            content = io.BytesIO()
            np.save(content, finish.predictions, allow_pickle=False)
            write_atomically(self.folder / "predictions.npy", content.getvalue())

    def close(self) -> None:
        if self.metrics:
            self.metrics.close()

    def _write_table(self, rows):
        table = io.StringIO()
        further = dict.fromkeys(key for row in rows for key in row if key not in COLUMNS)
        writer = csv.DictWriter(table, [*COLUMNS, *further], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: finite(value) for key, value in row.items()} for row in rows)
        write_atomically(self.folder / "results.csv", table.getvalue())
