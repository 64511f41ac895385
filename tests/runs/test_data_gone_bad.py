"""Data that change under a run: named, what was trained is saved, and after the mend the run ends as any other."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fasttrain.data.sources.synthetic import Spec, synthesize
from fasttrain.runs.run import load_run
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.rows import MEASURED

PROGRAM = """
import sys
from pathlib import Path
from fasttrain.cli import main as cli
from fasttrain.runs import lifecycle
from fasttrain.runs.sinks.console import console_sink
from fasttrain.runs.sinks.files import FilesSink
from fasttrain.train.events import Sink

name, harm, loader, out, data = sys.argv[1:]


class Harm(Sink):
    def progress(self, progress):
        if harm and (progress.phase, progress.epoch, progress.step) == ("train", 2, 2):
            [path] = Path(sys.argv[4]).parent.glob(f"cache/packs/*/{name}")
            if harm == "cut":
                with open(path, "r+b") as file:
                    file.truncate(path.stat().st_size // 3)
            elif harm == "altered":
                with open(path, "r+b") as file:
                    file.seek(-5, 2)
                    file.write(b"other")
            else:
                path.unlink()


lifecycle.default_sinks = lambda folder, console=None: [console_sink(), FilesSink(folder), Harm()]
sys.exit(cli.main(["run", "--arch", "examples/own_network.py:small", "--data", data, "--image-size", "32", "--loader",
                   loader, "--batch-size", "8", "--epochs", "3", "--lr", "0.01", "--device", "cpu", "--precision",
                   "fp32", "--threads", "1", "--out", out, "--resume", "auto"]))
"""


def start(tmp_path, name, harm, loader, out):
    environment = {**os.environ, "FASTTRAIN_CACHE": str(tmp_path / "cache")}
    return subprocess.run([sys.executable, "-c", textwrap.dedent(PROGRAM), name, harm, loader, str(tmp_path / out),
                           str(tmp_path / "data")], cwd=Path(__file__).parents[2], env=environment, capture_output=True,
                          text=True)


def rows(folder):
    return [{key: row[key] for key in row if key not in MEASURED} for row in load_run(folder).rows]


@pytest.mark.parametrize("name, harm, loader", [
    ("train/pixels.npy", "cut", "resident"), ("train/jpeg.npy", "cut", "jpeg"), ("val/pixels.npy", "cut", "resident"),
    ("train/pixels.npy", "altered", "resident")])
def test_a_file_that_is_cut_or_altered_is_named_and_the_run_goes_on_after_the_mend(tmp_path, name, harm, loader):
    synthesize(tmp_path / "data", Spec(classes=3, train=16, val=4, size=32))
    whole = start(tmp_path, name, "", loader, "whole")
    assert whole.returncode == 0, whole.stderr
    broken = start(tmp_path, name, harm, loader, "run")
    assert broken.returncode == 3, broken.stderr
    [line] = [line for line in broken.stderr.splitlines() if "error" in line]
    assert name in line and "fasttrain data pack --rebuild" in line and "Traceback" not in broken.stderr
    state = Checkpoints(tmp_path / "run" / "checkpoints").load("last")
    assert state["epoch"] == 1 and (state["step_in_epoch"] >= 2 or loader == "jpeg" or name.startswith("val"))
    environment = {**os.environ, "FASTTRAIN_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-m", "fasttrain", "data", "pack", "--rebuild", "--image-size", "32", "--data",
                    str(tmp_path / "data")], env=environment, check=True, capture_output=True)
    resumed = start(tmp_path, name, "", loader, "run")
    assert resumed.returncode == 0, resumed.stderr
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_file_that_is_deleted_or_replaced_stays_readable(tmp_path):
    synthesize(tmp_path / "data", Spec(classes=3, train=16, val=4, size=32))
    done = start(tmp_path, "train/pixels.npy", "deleted", "resident", "run")
    assert done.returncode == 0, done.stderr
