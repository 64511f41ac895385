"""Trackers with their real packages, offline; without a package its tests skip (scripts/test_trackers has them all)."""

import importlib.util
import json
import logging
import os

import pytest

from fasttrain import RunConfig, run
from fasttrain.cli.main import main
from fasttrain.errors import Interrupted
from fasttrain.registry import TRACKERS
from fasttrain.runs.trackers import Tracker, trackers
from fasttrain.train.events import Sink

CONFIG = {"data": "synthetic:classes=3,train=4,val=2,size=32", "image_size": 32, "epochs": 3, "batch_size": 4,
          "precision": "fp32"}
WORDS = ["run", *(word for key, value in CONFIG.items() for word in (f"--{key.replace('_', '-')}", str(value)))]


class StopAfter(Sink):
    """Ends the run by a signal after its n-th epoch."""

    essential = True

    def __init__(self, epochs):
        self.epochs = epochs

    def epoch(self, epoch):
        if epoch.row["epoch"] == self.epochs:
            os.kill(os.getpid(), 15)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Places below tmp_path for all that a tracker writes, and no network."""
    for name, value in {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "WANDB_MODE": "offline",
                        "MLFLOW_ALLOW_FILE_STORE": "true", "TRACKIO_DIR": str(tmp_path / "trackio"),
                        "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def interrupted_and_resumed(folder, name):
    """Trains two epochs, is stopped, and goes on to the third; returns the run."""
    config = RunConfig(**CONFIG, out=str(folder / "1"))
    with pytest.raises(Interrupted):
        run(config, callbacks=[*trackers([name]), StopAfter(2)])
    return run(config.replace(resume=config.out), callbacks=trackers([name]))


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"needs {package}")


@needs("mlflow")
def test_mlflow_receives_one_run(offline, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(offline / "mlruns"))
    done = interrupted_and_resumed(offline, "mlflow")
    from mlflow import MlflowClient

    client = MlflowClient()
    found, = client.search_runs([client.get_experiment_by_name("fasttrain").experiment_id])
    assert found.info.status == "FINISHED" and found.data.tags["status"] == "done"
    assert found.data.params["optimizer.momentum"] == "0.9"
    history = client.get_metric_history(found.info.run_id, "val_top1")
    assert [(one.step, one.value) for one in history] == [(row["epoch"], row["val_top1"]) for row in done.rows]
    assert "results.png" in {file.path for file in client.list_artifacts(found.info.run_id)}


def logged(data):
    """The records in a .wandb file: LevelDB's log format, blocks of 32 KiB, after a header of 7 bytes."""
    block, place, record = 2**15, 7, b""
    while place < len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        size, kind = int.from_bytes(data[place + 4:place + 6], "little"), data[place + 6]
        record = (record if kind in (3, 4) else b"") + data[place + 7:place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record


@needs("wandb")
def test_wandb_receives_the_rows_offline(offline):
    done = interrupted_and_resumed(offline, "wandb")
    first, second = sorted((done.folder / "wandb").glob("offline-run-*"))
    name = (done.folder / "wandb.id").read_text().strip()
    assert first.name.endswith(name) and second.name.endswith(name)
    from wandb.proto.wandb_internal_pb2 import Record

    epochs = []
    for folder in (first, second):
        for data in logged(next(folder.glob("*.wandb")).read_bytes()):
            history = Record.FromString(data).history
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in history.item}
            if "val_top1" in items:
                epochs.append((items["epoch"], items["val_top1"]))
    assert epochs == [(row["epoch"], row["val_top1"]) for row in done.rows]


@needs("trackio")
def test_trackio_receives_one_run(offline):
    done = interrupted_and_resumed(offline, "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    name = (done.folder / "trackio.id").read_text().strip()
    logs = SQLiteStorage.get_logs("fasttrain", name)
    assert [(one["step"], one["val_top1"]) for one in logs if "val_top1" in one] == \
        [(row["epoch"], row["val_top1"]) for row in done.rows]
    assert [one["status"] for one in logs if "status" in one][-1] == "done"


class Refusing(Tracker):
    """Takes everything but pictures."""

    name, ended = "refusing", None

    def open(self, start, known):
        return "1"

    def log(self, values, epoch):
        assert values["epoch"] == epoch

    def image(self, path):
        raise OSError("no room")

    def end(self, status):
        self.ended = status


def test_a_picture_that_cannot_be_sent_costs_the_status_nothing(tmp_path):
    tracker = Refusing()
    run(RunConfig(**{**CONFIG, "epochs": 1}, out=str(tmp_path / "1")), callbacks=[tracker])
    assert tracker.ended == "done" and (tmp_path / "1" / "refusing.id").read_text() == "1\n"


class Away(Tracker):
    """Cannot be reached by the calls whose numbers are in `fails`."""

    name = "away"

    def __init__(self, *fails):
        self.fails, self.calls, self.logged, self.ended = fails, 0, [], None

    def reach(self):
        self.calls += 1
        if self.calls in self.fails:
            raise ConnectionError("refused")

    def open(self, start, known):
        self.reach()
        return "1"

    def log(self, values, epoch):
        self.reach()
        self.logged.append(epoch)

    def image(self, path):
        pass

    def end(self, status):
        self.ended = status


@pytest.mark.parametrize("fails", [(1,), (1, 2), (2, 3), (4,), (1, 2, 3, 4)])
def test_rows_that_one_missed_are_sent_in_order_when_it_is_back(tmp_path, capsys, fails):
    tracker = Away(*fails)
    run(RunConfig(**CONFIG, out=str(tmp_path / "1")), callbacks=[tracker])
    assert tracker.logged == [1, 2, 3] and tracker.ended == "done"
    said = capsys.readouterr()
    assert (said.out + said.err).replace("\n", " ").count("refused") == 1


def test_a_resumed_run_sends_the_rows_of_before_to_one_that_was_never_there(tmp_path):
    config = RunConfig(**CONFIG, out=str(tmp_path / "1"))
    with pytest.raises(Interrupted):
        run(config, callbacks=[Away(*range(9)), StopAfter(2)])
    tracker = Away()
    run(config.replace(resume=config.out), callbacks=[tracker])
    assert tracker.logged == [1, 2, 3]


@pytest.mark.parametrize("name", TRACKERS.names())
def test_one_that_is_not_installed_is_a_warning(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    assert main([*WORDS, "--epochs", "1", "--tracker", name, "--out", str(tmp_path / "1")]) == 0
    said = capsys.readouterr()
    assert (said.out + said.err).replace("\n", " ").count("is off for the rest of this run") == 1
    assert not (tmp_path / "1" / f"{name}.id").exists()


def test_an_unknown_one_is_named(capsys):
    assert main([*WORDS, "--tracker", "mlfow"]) == 2
    assert "did you mean 'mlflow'" in capsys.readouterr().err


logging.getLogger("mlflow").setLevel(logging.ERROR)
