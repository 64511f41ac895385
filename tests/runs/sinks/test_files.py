import csv
import errno
import json

import pytest

from fasttrain.errors import DataError
from fasttrain.runs.sinks.files import FilesSink, LogSink
from fasttrain.train.rows import COLUMNS, read_rows


def test_a_run_leaves_rows_table_environment_and_log(fabricated, tmp_path):
    rows = fabricated.play([LogSink(tmp_path), FilesSink(tmp_path)], fabricated.start(tmp_path, epochs=3))
    assert read_rows(tmp_path / "metrics.jsonl") == rows
    table = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert tuple(table[0]) == COLUMNS
    assert [{key: float(value) for key, value in row.items()} for row in table] == rows
    env = json.loads((tmp_path / "env.json").read_text())
    assert env["packages"]["numpy"] and env["run"]["val_images"] == 100 and env["run"]["device"] == "cpu"
    assert "done in 1m02s" in (tmp_path / "log.txt").read_text()
    assert not list(tmp_path.glob("*.tmp"))


def test_rows_are_on_disk_after_each_epoch(fabricated, tmp_path):
    sink = FilesSink(tmp_path)
    sink.start(fabricated.start(tmp_path, epochs=3))
    for epoch in (1, 2):
        sink.epoch(fabricated.epoch(*map(fabricated.row, range(1, epoch + 1))))
        assert len(read_rows(tmp_path / "metrics.jsonl")) == epoch
        assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + epoch
    sink.close()


def test_a_resumed_run_has_each_row_once(fabricated, tmp_path):
    start = fabricated.start(tmp_path, epochs=5)
    fabricated.play([LogSink(tmp_path), FilesSink(tmp_path)], start, until=3, finish=False)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "st')
    fabricated.play([LogSink(tmp_path), FilesSink(tmp_path)], fabricated.start(tmp_path, epochs=5, resumed_from=2))
    assert [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").open()] == [1, 2, 3, 4, 5]
    assert [row["epoch"] for row in csv.DictReader((tmp_path / "results.csv").open())] == list("12345")
    log = (tmp_path / "log.txt").read_text()
    assert log.count(" 1/5 ") == 1 and "resumed  after epoch 2 of 5" in log


def test_nan_is_null_in_jsonl_and_empty_in_csv(fabricated, tmp_path):
    fabricated.play([FilesSink(tmp_path)], fabricated.start(tmp_path, epochs=1), finish=False,
                    row=lambda epoch: fabricated.row(epoch) | {"val_loss": fabricated.nan})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["val_loss"] is None
    assert next(csv.DictReader((tmp_path / "results.csv").open()))["val_loss"] == ""


def test_the_log_keeps_warnings(fabricated, tmp_path):
    sink = LogSink(tmp_path)
    sink.message("falling back\nto eager", "warning")
    sink.close()
    assert (tmp_path / "log.txt").read_text() == "warning: falling back to eager\n"


def test_a_full_disk_is_one_line_and_leaves_what_was_there(fabricated, tmp_path, monkeypatch):
    sink = FilesSink(tmp_path)
    sink.start(fabricated.start(tmp_path, epochs=3))
    sink.epoch(fabricated.epoch(fabricated.row(1)))
    before = (tmp_path / "results.csv").read_text()

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", no_space)
    with pytest.raises(DataError, match=r"results\.csv: cannot write: No space left on device; free some space"):
        sink.epoch(fabricated.epoch(fabricated.row(2)))
    sink.close()
    assert (tmp_path / "results.csv").read_text() == before and not list(tmp_path.glob("*.tmp"))
