"""The suite for a GPU machine, in miniature: every stage measures, is taken up again, and keeps what it has."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.suite import __main__ as suite
from benchmarks.suite.results import Mismatch, Results
from benchmarks.suite.stage import Measurement, Settings, Stage
from benchmarks.suite.targets import TARGETS, verdicts

ROOT = Path(__file__).parents[1]
# what a fake measurement does: writes the number of its calls, then as its second argument says
WORK = """
import json, pathlib, sys, time
path, then = sys.argv[1:]
count = pathlib.Path(path + ".count")
calls = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(calls))
pathlib.Path(path).write_text(json.dumps({"calls": calls, "status": "oom" if then == "oom" else "?"}))
if then == "hang":
    time.sleep(600)
if then == "fail" or then == "fail once" and calls == 1:
    print("it broke")
    sys.exit(3)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Makes stages of fake measurements: {stage: {measurement: what it does}}."""
    (tmp_path / "suite_work.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def install(stages, seconds=30, least=0):
        def measurements(actions):
            return lambda settings: [
                Measurement(name, ["suite_work", str(settings.raw(name)), then], seconds, settings.raw(name),
                            least=least)
                for name, then in actions.items()]

        monkeypatch.setattr(suite, "STAGES", [Stage(name, 1, measurements(a)) for name, a in stages.items()])

    return install


def run(folder, names, minutes=None):
    """Runs the stages `names` as the command would: (what it reported, the rows of each)."""
    lines = []
    folder.mkdir(exist_ok=True)
    suite.run_stages(Settings(folder, "cpu", True, None), names, minutes, lines.append)
    return lines, {name: json.loads((folder / f"{name}.json").read_text())["rows"] for name in names
                   if (folder / f"{name}.json").exists()}


def test_what_is_there_is_not_measured_again_and_a_failure_stops_nothing(work, tmp_path):
    work({"step": {"a": "end", "b": "fail once", "c": "oom"}, "loader": {"d": "end"}})
    _, rows = run(tmp_path / "out", ["step", "loader"])
    assert {name: row["status"] for name, row in rows["step"].items()} == {"a": "ok", "b": "failed", "c": "oom"}
    assert rows["step"]["b"]["calls"] == 1  # what it wrote before it failed
    assert rows["loader"]["d"]["status"] == "ok"
    assert "it broke" in (tmp_path / "out" / "step.log").read_text()
    lines, rows = run(tmp_path / "out", ["step", "loader"])
    assert {name: (row["status"], row["calls"]) for name, row in rows["step"].items()} == {
        "a": ("ok", 1), "b": ("ok", 2), "c": ("oom", 1)}
    assert lines == ["step:", "  b ...", lines[2], "loader:", "  all there"]


def test_a_measurement_that_hangs_is_ended_and_what_it_wrote_is_kept(work, tmp_path):
    work({"step": {"a": "hang", "b": "end"}}, seconds=1.5)
    _, rows = run(tmp_path / "out", ["step"])
    assert (rows["step"]["a"]["status"], rows["step"]["a"]["calls"]) == ("out of time", 1)
    assert rows["step"]["b"]["status"] == "ok"


def test_the_minutes_end_each_stage_and_leave_the_rest_for_the_next_call(work, tmp_path):
    work({"step": {"a": "hang", "b": "end"}, "loader": {"c": "end"}}, least=2)
    lines, rows = run(tmp_path / "out", ["step", "loader"], minutes=0.1)
    assert rows["step"]["a"]["status"] == "out of time" and "b" not in rows["step"]
    assert rows["loader"]["c"]["status"] == "ok"
    assert lines.count("  its time is over; run again to go on") == 1


def test_results_of_another_setting_are_not_mixed_in(tmp_path):
    Results(tmp_path / "step.json", {"tiny": True}).put("a", {"status": "ok"})
    with pytest.raises(Mismatch, match="choose another --out"):
        Results(tmp_path / "step.json", {"tiny": False})


SLOW_SUITE = """
import sys
from benchmarks.suite import __main__ as suite
from benchmarks.suite.stage import Measurement, Stage
def measurements(settings):
    return [Measurement(name, ["suite_work", str(settings.raw(name)), then], 60, settings.raw(name), least=0)
            for name, then in (("a", "end"), ("b", "hang"))]
suite.STAGES = [Stage("step", 1, measurements)]
suite.main(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_suite_that_is_ended_takes_its_processes_along_and_keeps_its_rows(tmp_path, number):
    (tmp_path / "suite_work.py").write_text(WORK)
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", SLOW_SUITE, "--out", str(out), "--device", "cpu", "--tiny"],
                               cwd=ROOT, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(tmp_path)})
    wait_for(lambda: (out / "raw" / "b.json").exists())
    assert running(out)
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == (75 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_for(lambda: not running(out))
    rows = json.loads((out / "step.json").read_text())["rows"]
    assert rows["a"]["status"] == "ok" and "b" not in rows
    if number == signal.SIGTERM:
        assert "not measured" in said and (out / "summary.md").exists()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(out):
    """The processes that work for the suite with the results folder `out`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "suite_work" in words and any(word.startswith(str(out)) for word in words):
            found.append(entry)
    return found


@pytest.mark.parametrize("arguments", [["--stages", "stpe"], ["--device", "cpu"], ["--minutes", "0"], ["--tin"]])
def test_a_wrong_call_is_refused(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        suite.parse(["--out", str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert re.search(r"unknown stage|goes with|above 0|unrecognized", capsys.readouterr().err)


def step_row(arch, head, speed, batch=1024):
    return {"status": "ok", "arch": arch, "head": head, "batch_size": batch, "precision": "bf16", "compile": "max",
            "contender": suite_contender(), "images_per_second": {"median": speed, "min": speed, "max": speed}}


def suite_contender():
    from fasttrain.perf.bench.step import CONTENDER

    return CONTENDER


def test_targets_are_met_missed_or_not_measured():
    rows = {"step": {"a": step_row("resnet18", "origin", 310e3), "b": step_row("resnet18", "maxpool", 300e3),
                     "c": step_row("resnet18", "dropout", 200e3), "d": step_row("resnet50", "origin", 90e3),
                     "e": {**step_row("resnet50", "origin", 99e3), "contender": "torchvision"}},
            "ablation": {"fast, 1 seed": {"variants": [
                {"arch": "resnet18", "head": "origin", "metric": "val_top1", "mean": 54.2, "n": 1}]}}}
    found = {row["name"]: (row["figure"], row["verdict"]) for row in verdicts(rows, real=True)}
    assert len(found) == len(TARGETS) + 2
    assert found["resnet18 origin, training step"] == ("310,000 images/s", "met")
    assert found["resnet50 origin, training step"] == ("90,000 images/s", "not met")
    assert found["resnet18, slowest head over origin"] == ("64.5%", "not met")
    assert found["resnet18 origin, top-1 after 30 epochs"] == ("54.20 %", "met")
    assert found["tests marked gpu that pass"] == (None, "not measured")
    assert {row["verdict"] for row in verdicts(rows, real=False)} == {"miniature", "not measured"}


@pytest.mark.parametrize("gpu, verdict", [("NVIDIA H100 80GB HBM3", "met"), ("NVIDIA H200", "not met")])
def test_the_speed_that_is_wanted_is_that_of_the_gpu(gpu, verdict):
    rows = {"env": {"machine": {"devices": [gpu]}}, "step": {"a": step_row("resnet18", "origin", 250e3)}}
    assert verdicts(rows, real=True)[0]["verdict"] == verdict


STAGES = ("env", "correct", "step", "loader", "profile", "e2e", "ablation")  # `tune` trains as `ablation` does


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """The folder of a whole miniature, run by the script."""
    out = tmp_path_factory.mktemp("miniature") / "out"
    quick = {"TORCHDYNAMO_DISABLE": "1"}  # for the peer that compiles: a minute of g++ that tells nothing here
    done = subprocess.run([ROOT / "scripts" / "gpu_suite", "--out", out, "--device", "cpu", "--tiny",
                           "--stages", ",".join(STAGES)], text=True, capture_output=True, timeout=900,
                          env={**os.environ, **quick, "PYTHON": sys.executable})
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_measures_in_miniature(miniature, stage):
    rows = json.loads((miniature / f"{stage}.json").read_text())["rows"]
    assert rows and {row["status"] for row in rows.values()} == {"ok"}, (miniature / f"{stage}.log").read_text()[-3000:]


def test_the_summary_holds_what_the_miniature_measured(miniature):
    targets = {row["name"]: row for row in json.loads((miniature / "summary.json").read_text())["targets"]}
    for name in ("resnet18 origin, training step", "resnet18, epochs over the step alone",
                 "resnet18, gather and augment in a step", "first step of a process, kernels cached",
                 "resnet18 over peer (a): PIL, fp32, eager", "resnet18 origin, top-1 after 30 epochs"):
        assert targets[name]["verdict"] == "miniature", name
    assert targets["resnet50 origin, training step"]["verdict"] == "not measured"
    page = (miniature / "summary.md").read_text()
    assert "| resnet18 origin, training step | >= 300,000 images/s (H200) |" in page
    assert "resident" in page
