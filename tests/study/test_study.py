"""A study with made-up runs: order, skipping, failures, signals; and a small real one that is interrupted."""

import functools
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from fasttrain.cli.main import main
from fasttrain.errors import ConfigError, FasttrainError, Interrupted
from fasttrain.runs import lifecycle
from fasttrain.runs.run import load_run
from fasttrain.runs.sinks.files import FilesSink
from fasttrain.runtime import resolve
from fasttrain.study import forecast, study, worker
from fasttrain.study.plan import plan
from fasttrain.train.build import Job
from fasttrain.train.checkpoint import Checkpoints
from tests.study.fabricate import make_row, make_run

DATA = {"data": "synthetic:classes=3,train=8,val=4,size=32", "image_size": 32, "epochs": 2, "batch_size": 4, "lr": 0.1}


def configs(out, heads=("origin", "maxpool"), seeds=1, **flags):
    return plan(["resnet18"], heads, ["fast"], seeds, out, flags={**DATA, **flags})


def outcome(ablation):
    return {(row["head"], row["seed"]): (row["status"], row.get("reason")) for row in ablation["runs"]}


@pytest.fixture(autouse=True)
def reports(monkeypatch):
    """The folders that got a report: drawing it has tests of its own."""
    written = []
    monkeypatch.setattr(study, "write_report", lambda ablation, runs, folder: written.append((len(runs), folder)))
    return written


@functools.cache
def images():
    """The fingerprints of DATA."""
    _, (splits,) = study.prepared(configs("nowhere", heads=["origin"]))
    return {split.name: split.fingerprint for split in splits}


class Trained:
    """Makes up runs instead of training them; `fates` tells which go wrong, by the name of their folder's parent."""

    def __init__(self, fates=None):
        self.fates, self.order = fates or {}, []

    def __call__(self, config, stop, progress):
        progress({"epoch": 1, "epochs": config.epochs, "left": 10.0})
        self.order.append(str(Path(config.out).relative_to(Path(config.out).parents[1])))
        fate = self.fates.get(config.head)
        if isinstance(fate, signal.Signals):
            os.kill(os.getpid(), fate)
            return "interrupted", None
        if fate == "failed":
            return "failed", "its process was killed by SIGSEGV"
        rows = [make_row(1, 50.0, train_loss=None)] if fate == "diverged" else None
        make_run(Path(config.out), rows=rows, fingerprints=images(), **config.to_dict())
        return fate or "done", "epoch 1: the loss is nan" if fate else None


def test_runs_are_trained_seed_by_seed_and_written_down_one_by_one(tmp_path, capsys, reports):
    train, seen = Trained(), []

    def watched(*arguments):
        seen.append(sorted(row["status"] for row in json.loads((tmp_path / "ablation.json").read_text())["runs"]))
        return train(*arguments)

    ablation, folder = study.ablate(configs(tmp_path, seeds=2), tmp_path, watched)
    assert train.order == ["resnet18_origin/fast-0", "resnet18_maxpool/fast-0", "resnet18_origin/fast-1",
                           "resnet18_maxpool/fast-1"]
    assert seen == [["done"] * n + ["to do"] * (4 - n) for n in range(4)]
    assert reports == [(4, tmp_path)]
    assert folder == tmp_path and len(ablation["comparisons"]) > 0 and not ablation["left_out"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"4 runs in {tmp_path}: 0 finished before, 4 to train"
    assert lines[1].startswith("[1/4] resnet18_origin fast-0: done, top-1 85.00 % in ") and "; 3 to go, " in lines[1]


def test_a_second_call_trains_only_what_is_left(tmp_path):
    study.ablate(configs(tmp_path), tmp_path, Trained())
    again = Trained()
    study.ablate(configs(tmp_path, heads=("origin", "maxpool", "dropout")), tmp_path, again)
    assert again.order == ["resnet18_dropout/fast-0"]


def test_failed_and_diverged_runs_are_rows_and_the_rest_goes_on(tmp_path, capsys):
    heads, train = ("origin", "maxpool", "dropout"), Trained({"origin": "failed", "maxpool": "diverged"})
    ablation, _ = study.ablate(configs(tmp_path, heads), tmp_path, train)
    assert outcome(ablation) == {("origin", 0): ("failed", "its process was killed by SIGSEGV"),
                                 ("maxpool", 0): ("diverged", "the loss was not finite in epoch 1"),
                                 ("dropout", 0): ("done", None)}
    assert "[2/3] resnet18_maxpool fast-0: diverged (epoch 1: the loss is nan)" in capsys.readouterr().out
    again = Trained()
    ablation, _ = study.ablate(configs(tmp_path, heads), tmp_path, again)
    assert again.order == ["resnet18_origin/fast-0"] and outcome(ablation)["origin", 0] == ("done", None)


def test_a_study_of_which_no_run_is_done_is_an_error(tmp_path):
    with pytest.raises(FasttrainError, match="none of the 2 runs is done: its process was killed by SIGSEGV") as error:
        study.ablate(configs(tmp_path), tmp_path, Trained({"origin": "failed", "maxpool": "failed"}))
    assert error.value.exit_code == 1 and (tmp_path / "ablation.json").exists()


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_the_study_after_the_run_in_hand(tmp_path, number, code):
    train, before = Trained({"maxpool": number}), signal.getsignal(number)
    with pytest.raises(Interrupted, match="the same command continues the study") as error:
        study.ablate(configs(tmp_path, seeds=2), tmp_path, train)
    assert error.value.exit_code == code and len(train.order) == 2
    assert signal.getsignal(number) is before
    runs = json.loads((tmp_path / "ablation.json").read_text())["runs"]
    assert [row["status"] for row in runs] == ["done", "to do", "to do", "to do"]


def test_a_run_made_by_hand_is_recognised(tmp_path):
    (config,) = configs(tmp_path, heads=["origin"])
    make_run(Path(config.out), "origin", epochs=2, data="spelled otherwise", image_size=32,
             fingerprints=images())
    train = Trained()
    study.ablate(configs(tmp_path), tmp_path, train)
    assert train.order == ["resnet18_maxpool/fast-0"]


def test_a_run_of_other_settings_in_the_way_is_named(tmp_path):
    (config,) = configs(tmp_path, heads=["origin"])
    make_run(Path(config.out), "origin", epochs=2, image_size=32, label_smoothing=0.3)
    with pytest.raises(ConfigError, match=r"resnet18_origin/fast-0: holds a run with label_smoothing 0.3, not 0.1"):
        study.ablate(configs(tmp_path), tmp_path, Trained())


def test_a_run_on_other_images_in_the_way_is_named(tmp_path):
    (config,) = configs(tmp_path, heads=["origin"])
    make_run(Path(config.out), "origin", epochs=2, image_size=32)
    with pytest.raises(ConfigError, match=r"resnet18_origin/fast-0: holds a run on other images"):
        study.ablate(configs(tmp_path), tmp_path, Trained())


def test_a_run_killed_between_its_last_row_and_its_checkpoint_is_interrupted(tmp_path):
    (config,) = configs(tmp_path, heads=["origin"])
    make_run(Path(config.out), "origin", epochs=2, image_size=32)
    assert study.status_of(config) == "done"
    Checkpoints(Path(config.out) / "checkpoints").save("last", {"epoch": 1})
    assert study.status_of(config) == "interrupted"


def test_two_studies_in_one_folder_are_refused(tmp_path):
    with study.claimed(tmp_path), pytest.raises(ConfigError, match="another study runs here"):
        study.ablate(configs(tmp_path), tmp_path, Trained())


def test_the_plan_tells_states_and_time(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(study, "run_seconds", lambda job: measured.append(job.config.head) or 60.0)
    (config,) = configs(tmp_path, heads=["origin"])
    make_run(Path(config.out), "origin", epochs=2, image_size=32, fingerprints=images())
    lines = study.dry_run(configs(tmp_path, seeds=2), tmp_path)
    assert measured == ["maxpool", "origin"]  # each variant once
    assert [line.split()[2:] for line in lines[:4]] == [["done"], ["to", "do", "1m00s"], ["to", "do", "1m00s"],
                                                         ["to", "do", "1m00s"]]
    assert lines[4] == f"4 runs in {tmp_path}: 3 to train, about 3m00s"


def test_a_few_real_steps_are_measured(tmp_path):
    (config,), (splits,) = study.prepared(configs(tmp_path, heads=["origin"], device="cpu"))
    seconds, longer = (forecast.run_seconds(Job(config.replace(epochs=epochs), resolve(config), *splits))
                       for epochs in (config.epochs, 200))
    assert 0 < seconds < longer


@pytest.mark.parametrize("words, says", [
    (["--heads", "maxpol"], "did you mean 'maxpool'"), (["--seeds", "0"], "--seeds"), (["--seed", "1"], "--seeds"),
    (["--set", "seed=3"], "a study sets seed itself"), (["--epochs", "x"], "epochs: 'x'"),
])
def test_bad_flags_are_one_line(capsys, words, says):
    assert main(["ablate", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("script, reason", [
    ("kill -9 $$", "its process was killed by SIGKILL (perhaps for lack of memory)"),
    ("echo '{\"error\": \"x.pt: damaged\"}'; exit 3", "x.pt: damaged"),
])
def test_a_process_that_fails_is_a_reason(tmp_path, monkeypatch, script, reason):
    (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    (config,) = configs(tmp_path, heads=["origin"])
    assert worker.train(config, worker.Stop(), print) == ("failed", reason)


def test_a_real_study_that_is_interrupted_goes_on_where_it_was(tmp_path):
    def struck(config, stop, progress):
        return worker.train(config, stop, lambda message: stop.received or os.kill(os.getpid(), signal.SIGTERM))

    own = configs(tmp_path, heads=["maxpool"], epochs=4, device="cpu", compile="off")
    with pytest.raises(Interrupted) as error:
        study.ablate(own, tmp_path, struck)
    assert error.value.exit_code == 75 and study.status_of(own[0]) == "interrupted"
    (row,) = json.loads((tmp_path / "ablation.json").read_text())["runs"]
    assert row["status"] == "interrupted" and row["reason"].startswith("stands at epoch")

    def here(config, stop, progress):
        lifecycle.run(config, sinks=[FilesSink(Path(config.out))])
        return "done", None

    ablation, _ = study.ablate(own, tmp_path, here)
    assert [row["status"] for row in ablation["runs"]] == ["done"]
    run = load_run(own[0].out)
    assert len(run.predictions) == 12 and len(run.rows) == 4
    assert run.config == own[0].replace(threads=run.config.threads)  # noted by the run


def test_jobs_run_side_by_side(tmp_path):
    """Each of the two runs waits until the other has begun."""
    both, made = threading.Barrier(2, timeout=60), Trained()

    def meet(*arguments):
        both.wait()
        return made(*arguments)

    ablation, _ = study.ablate(configs(tmp_path), tmp_path, meet, jobs=2)
    assert outcome(ablation) == {("origin", 0): ("done", None), ("maxpool", 0): ("done", None)}


def test_a_signal_ends_jobs_and_begins_no_more(tmp_path):
    train, once = Trained(), threading.Lock()

    def struck(*arguments):
        if len(train.order) >= 2 and once.acquire(blocking=False):  # two threads may both miss the moment of two
            os.kill(os.getpid(), signal.SIGTERM)
        return train(*arguments)

    with pytest.raises(Interrupted):
        study.ablate(configs(tmp_path, seeds=20), tmp_path, struck, jobs=2)
    assert 2 <= len(train.order) < 20


def test_processes_share_a_run_of_a_study(tmp_path):
    own = configs(tmp_path, heads=["origin"], device="cpu", precision="fp32", epochs=1)
    ablation, _ = study.ablate(own, tmp_path, worker.Slots(1, 2, "cpu"))
    assert outcome(ablation) == {("origin", 0): ("done", None)}
    assert Checkpoints(Path(own[0].out) / "checkpoints").load("last")["processes"] == 2


def test_an_error_of_processes_is_the_reason_of_their_run(tmp_path):
    (own,) = configs(tmp_path, heads=["origin"], device="cpu", precision="fp32", batch_size=1)
    status, reason = worker.train(own, worker.Stop(), print, nproc=2)
    assert status == "failed" and "batch size 1: is too small for 2 processes" in reason
