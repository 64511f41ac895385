"""A killed run goes on whichever one of its files is lost, cut or altered, tells which, and mends it."""

import os
import shutil

import pytest

from fasttrain import RunConfig, run
from fasttrain.cli.main import main
from fasttrain.runs import lifecycle
from fasttrain.runs.run import damage
from fasttrain.runs.settings import read_config
from fasttrain.runs.sinks.files import FilesSink
from fasttrain.study.analysis.collect import read_runs
from fasttrain.train.checkpoint import NAMES, Checkpoints
from fasttrain.train.events import Sink
from fasttrain.train.rows import MEASURED, read_rows
from fasttrain.train.saver import Saver

FILES = ("checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.pt", "checkpoints/manifest.json",
         "config.yaml", "metrics.jsonl", "env.json")


class Listener(Sink):
    """Keeps warnings, and what is in the folder in the middle of the third epoch: what a kill would leave."""

    essential = True

    def __init__(self, folder, killed=None):
        self.folder, self.killed, self.warnings = folder, killed, []

    def progress(self, progress):
        if self.killed and (progress.phase, progress.epoch, progress.step) == ("train", 3, 1):
            shutil.copytree(self.folder, self.killed)

    def message(self, text, level="info"):
        if level == "warning":
            self.warnings.append(text)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """(The folder of a run of three epochs, killed in the third; the rows that the run had in the end.)"""
    place = tmp_path_factory.mktemp("killed")
    config = RunConfig(data="synthetic:classes=3,train=4,val=3,size=32", image_size=32, batch_size=4, epochs=3,
                       lr=0.01, seed=7, device="cpu", precision="fp32", save_every=1, out=str(place / "run"))
    save = Saver.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saver, "save", lambda saver, *state: (save(saver, *state), saver.wait()))
        rows = run(config, sinks=[Listener(place / "run", place / "killed"), FilesSink(place / "run")]).rows
    shutil.rmtree(place / "run")
    return place / "killed", rows


@pytest.fixture
def folder(killed, tmp_path):
    """A copy of the killed run; its checkpoints are further names of the same files."""
    def copy(source, target):
        (os.link if source.endswith(".pt") else shutil.copy)(source, target)

    return shutil.copytree(killed[0], tmp_path / "run", copy_function=copy)


def lose(path):
    path.unlink()


def cut(path):
    replace(path, path.read_bytes()[:path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 5] ^= 4
    replace(path, data)


def replace(path, data):
    path.unlink()  # the file has other names
    path.write_bytes(data)


def resume(folder, monkeypatch, *flags):
    """Resumes by the command line; returns the warnings."""
    listener = Listener(folder)
    monkeypatch.setattr(lifecycle, "default_sinks", lambda *_: [listener, FilesSink(folder)])
    assert main(["run", "--resume", str(folder), *flags]) == 0
    return listener.warnings


def comparable(rows):
    return [{key: row[key] for key in row if key not in MEASURED} for row in rows]


@pytest.mark.parametrize("harm", [lose, cut, flip])
@pytest.mark.parametrize("name", FILES)
def test_a_run_goes_on_without_any_one_of_its_files(killed, folder, monkeypatch, name, harm):
    harm(folder / name)
    warnings = resume(folder, monkeypatch)
    assert len(warnings) == 1 and str(folder / name) in warnings[0]
    rows = read_rows(folder / "metrics.jsonl")
    assert comparable(rows) == comparable(killed[1])
    checkpoints = Checkpoints(folder / "checkpoints")
    assert [checkpoints.load(saved)["epoch"] for saved in ("last", "previous")] == [3, 2]
    best = checkpoints.load("best")
    assert best["rows"][-1]["val_top1"] == best["best"]
    assert set(checkpoints.read_manifest()) == {f"{saved}.pt" for saved in NAMES}
    assert read_config(folder).epochs == 3 and not list(damage(folder, rows))


def test_a_whole_folder_goes_on_without_a_warning(killed, folder, monkeypatch):
    for name in ("checkpoints/.last.pt.1.tmp", ".results.csv.1.tmp"):
        (folder / name).write_bytes(b"of a process that was killed")
    assert resume(folder, monkeypatch) == []
    assert comparable(read_rows(folder / "metrics.jsonl")) == comparable(killed[1])
    assert not list(folder.rglob("*.tmp"))


def test_the_warning_says_what_was_used_and_what_was_lost(folder, monkeypatch):
    lose(folder / "checkpoints" / "last.pt")
    [warning] = resume(folder, monkeypatch)
    assert "previous.pt, after epoch 1 instead of after epoch 2" in warning


@pytest.mark.parametrize("harm", [lose, cut, flip])
@pytest.mark.parametrize("name", FILES)
def test_eval_and_report_say_at_most_one_line(folder, capsys, name, harm):
    harm(folder / name)
    code = main(["eval", str(folder)])
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert (code, len(lines)) == ((3, 1) if name.endswith("best.pt") else (0, 0))
    runs, left_out = read_runs([folder])
    assert len(runs) + len(left_out) == 1
    if name in ("config.yaml", "env.json"):
        assert name in left_out[0]
