"""The examples do what they say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from fasttrain import load_run
from fasttrain.cli.main import main
from fasttrain.runs import lifecycle
from fasttrain.study import worker
from tests.study.studies import draw_small

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    """Imports an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def test_fine_tuning_trains_goes_on_and_is_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = load("fine_tune")
    codes = []
    monkeypatch.setattr(example, "fasttrain", lambda *words: codes.append(main(words)))
    example.main()
    tuned = load_run("tuned")
    assert codes == [0] * 6 and tuned.status == "done"
    assert "weights resnet18.pth: 100 of 102 tensors; drawn anew: fc (another shape)" in tuned.facts["notes"]
    assert Path("net.pt2").exists() and Path("profile/profile.html").exists()


def test_the_sweep_has_a_report_and_lists_its_runs(tmp_path, monkeypatch, capsys):
    """The runs train in this process: workers have tests of their own."""
    monkeypatch.chdir(tmp_path)
    example = load("sweep")
    monkeypatch.setattr(example, "fasttrain", lambda *words: main(words))
    monkeypatch.setattr(worker, "train", train_here)
    draw_small(monkeypatch)
    example.main()
    out = capsys.readouterr().out
    assert "All else equal, " in out and "2 of 4 runs" in out
    assert "Which augment.flip with which optimizer.weight_decay" in Path("sweep/report.html").read_text()


def train_here(config, stop, progress, nproc, environment):
    """Trains a run of a study without a process of its own."""
    lifecycle.run(config)
    return "done", None


def test_the_example_trains_on_photos_of_which_one_is_cut_off(tmp_path):
    command = [sys.executable, str(EXAMPLES / "photos.py"), str(tmp_path / "photos")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("leaves out 1 of the data's files") == 2  # when packing, and when training
    assert load_run(tmp_path / "photos-run").status == "done"
