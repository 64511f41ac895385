"""The rows of `metrics.jsonl`: one per epoch."""

from __future__ import annotations

import json
import math
import numbers
from pathlib import Path
from typing import Any

Row = dict[str, Any]
STOPPED = "stopped_early"

# Keys whose values differ between two equal runs.
MEASURED = ("images_per_second", "data_wait_fraction", "seconds", "save_seconds", "compile_seconds",
            "peak_memory_bytes")

# `epoch` counts from 1; `step` counts optimizer steps over the whole run; top-1, top-5 and macro-F1 are in percent.
# `train_image_size`, in pixels, is also the size that BatchNorm's statistics were taken at, unless `recalibrate` took
# them at `image_size`, where validation measures: without it, values suffer in epochs where the two differ.
# `threads`: of the step, on the host.
# Further keys, where there is something to tell: `rollbacks`, how often the run has gone back because it diverged, each
# time to half the learning rate; `diverged_step`, in the last row of a run that ended so, the step at which it began;
# `stopped_early`, true in a row after which `patience` ended the run.
# `save_seconds`: for how long training stood still to save, since the row before; `seconds` does not count it.
COLUMNS = (
    "epoch", "step", "lr",
    "train_loss", "train_top1", "train_top5",
    "val_loss", "val_top1", "val_top5", "val_macro_f1", "train_image_size", "image_size", "threads",
    *MEASURED,
)


def finite(value: object) -> object:
    """Returns `value`, or None where it is a number that JSON cannot hold (NaN, infinities)."""
    return None if isinstance(value, numbers.Real) and not math.isfinite(value) else value


def row_to_json(row: Row) -> str:
    """Returns one line of JSON with the keys in the order of COLUMNS, others after them; NaN becomes null."""
    ordered = {key: row[key] for key in COLUMNS if key in row}
    return json.dumps({key: finite(value) for key, value in {**ordered, **row}.items()},
                      allow_nan=False, default=lambda number: number.item())


def read_rows(path: Path, epochs: int | None = None) -> list[Row]:
    """Reads rows back, in order of epochs: up to epoch `epochs`, one for each (the last written), null as NaN.

    A line that was cut off while it was written is left out; a file that is not there holds no rows.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    rows = {}
    for line in lines:
        try:
            row = json.loads(line)
            rows[row["epoch"]] = {key: math.nan if value is None else value for key, value in row.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return [rows[epoch] for epoch in sorted(rows) if epochs is None or epoch <= epochs]


def begins_with(path: Path, rows: list[Row]) -> bool:
    """Whether a metrics.jsonl holds all of `rows`, whole and unchanged, at its beginning."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[:len(rows)]
        return [json.loads(line) for line in lines] == [json.loads(row_to_json(row)) for row in rows]
    except (OSError, ValueError):
        return False


def stopped_early(rows: list[Row]) -> bool:
    """Whether `patience` ended a run after the last of its rows."""
    return bool(rows) and rows[-1].get(STOPPED, False)


def epochs_without_gain(rows: list[Row]) -> int:
    """Returns how many epochs are since the best one, or since a run that goes on all the same was stopped early."""
    best = best_row(rows)
    begins = [row["epoch"] for row in rows if row.get(STOPPED)]
    return rows[-1]["epoch"] - max([best["epoch"] if best else 0, *begins])


def best_row(rows: list[Row]) -> Row | None:
    """Returns the row with the highest validation top-1, the first of equals; None where none has any."""
    scored = [row for row in rows if finite(row["val_top1"]) is not None]
    return max(scored, key=lambda row: row["val_top1"], default=None)
