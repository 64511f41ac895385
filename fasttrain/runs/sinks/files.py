"""The files of a run folder: `log.txt`, `metrics.jsonl`, `results.csv`, `env.json`, `predictions.npy`."""

import csv
import io
import json

from fasttrain.runs.sinks.console import TextSink
from fasttrain.storage import write_atomically, writing
from fasttrain.train.events import Sink
from fasttrain.train.rows import COLUMNS, finite, read_rows, row_to_json

# What a config set to `auto` came to, and what the data held: "run" in env.json.
FACTS = ("train_images", "val_images", "class_names", "fingerprints", "parameters", "device", "precision", "compile",
         "loader", "notes")


class LogSink(TextSink):
    """`log.txt`: what the console says, plain. A resumed run goes on below what is there."""

    def __init__(self, folder):
        path = folder / "log.txt"
        with writing(path):
            super().__init__(path.open("a", encoding="utf-8", errors="backslashreplace"))

    def close(self):
        self.stream.close()


def write_rows(folder, rows):
    """Makes the metrics.jsonl of a run folder anew from these rows."""
    write_atomically(folder / "metrics.jsonl", "".join(row_to_json(row) + "\n" for row in rows))


class FilesSink(Sink):
    """`metrics.jsonl`, `results.csv`, `env.json`, and `predictions.npy` at the end.

    A resumed run keeps the rows of the epochs it builds on.
    """

    essential = True

    def __init__(self, folder):
        self.folder = folder
        self.metrics = None

    def start(self, info):
        self.rows = read_rows(self.folder / "metrics.jsonl", info["resumed_from"])
        write_rows(self.folder, self.rows)
        facts = {**info["environment"], "run": {key: info[key] for key in FACTS}}
        write_atomically(self.folder / "env.json", json.dumps(facts, indent=2) + "\n")
        with writing(self.folder / "metrics.jsonl"):
            self.metrics = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._write_table()

    def epoch(self, row):
        self.rows.append(row)
        with writing(self.folder / "metrics.jsonl"):
            self.metrics.write(row_to_json(row) + "\n")
            self.metrics.flush()
        self._write_table()

    def finish(self, summary):
        import numpy as np

        if summary["predictions"] is not None:
            content = io.BytesIO()
            np.save(content, summary["predictions"], allow_pickle=False)
            write_atomically(self.folder / "predictions.npy", content.getvalue())

    def close(self):
        if self.metrics:
            self.metrics.close()

    def _write_table(self):
        table = io.StringIO()
        further = dict.fromkeys(key for row in self.rows for key in row if key not in COLUMNS)
        writer = csv.DictWriter(table, [*COLUMNS, *further], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: finite(value) for key, value in row.items()} for row in self.rows)
        write_atomically(self.folder / "results.csv", table.getvalue())
