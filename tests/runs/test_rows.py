import json
import math

import numpy as np

from fasttrain.train.rows import COLUMNS, best_row, read_rows, row_to_json


def test_a_row_survives_the_round_trip(fabricated, tmp_path):
    rows = [fabricated.row(epoch) for epoch in (1, 2, 3)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(row_to_json(row) + "\n" for row in rows))
    assert read_rows(path) == rows


def test_keys_come_in_the_stated_order_and_numpy_numbers_are_numbers(fabricated):
    shuffled = dict(reversed(fabricated.row(1).items())) | {"val_loss": np.float32(0.5), "step": np.int64(7)}
    back = json.loads(row_to_json(shuffled))
    assert tuple(back) == COLUMNS
    assert back["val_loss"] == 0.5 and back["step"] == 7


def test_what_is_not_finite_becomes_null_and_reads_back_as_nan(fabricated, tmp_path):
    row = fabricated.row(1) | {"val_loss": math.nan, "train_loss": math.inf, "val_top1": np.float32("nan")}
    line = row_to_json(row)
    assert "NaN" not in line and "Infinity" not in line and '"val_loss": null' in line
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    back = read_rows(tmp_path / "metrics.jsonl")[0]
    assert all(math.isnan(back[key]) for key in ("val_loss", "train_loss", "val_top1"))


def test_reading_stops_at_an_epoch_takes_the_last_of_doubled_rows_and_skips_a_torn_line(fabricated, tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [fabricated.row(1), fabricated.row(2), fabricated.row(2) | {"val_loss": 7.0}, fabricated.row(3)]
    path.write_text("".join(row_to_json(row) + "\n" for row in rows) + '{"epoch": 4, "ste')
    assert [row["epoch"] for row in read_rows(path)] == [1, 2, 3]
    assert [row["epoch"] for row in read_rows(path, epochs=2)] == [1, 2]
    assert read_rows(path)[1]["val_loss"] == 7.0
    assert read_rows(tmp_path / "absent.jsonl") == []


def test_the_best_row_is_the_first_of_equals_and_never_nan(fabricated):
    rows = [fabricated.row(e) | {"val_top1": value} for e, value in enumerate([math.nan, 5.0, 9.0, 9.0, math.nan], 1)]
    assert best_row(rows)["epoch"] == 3
    assert best_row(rows[:1]) is None and best_row([]) is None
