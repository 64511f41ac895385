"""The commands, from end to end in miniature, each as a process that sees the null GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ["--data", "synthetic:classes=4,train=16,val=4,size=32", "--image-size", "32", "--device", "cuda"]
STEP = [*IMAGES, "--batch-size", "8", "--lr", "0.1"]
STAGES = ("env", "step", "loader", "profile", "e2e", "ablation")


def done(*words, cwd):
    """Runs a command to its end; its output. One compiling thread: a pool of processes each would fill the memory."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ['PYTHONPATH']}",
                   "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    finished = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-4000:]
    assert "failed, training goes on" not in finished.stdout + finished.stderr
    return finished.stdout


def fasttrain(*words, cwd):
    return done(sys.executable, "-m", "fasttrain", *words, cwd=cwd)


def test_a_run_is_trained_and_evaluated(tmp_path):
    fasttrain("run", *STEP, "--epochs", "1", "--out", "first", cwd=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "first" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1]
    fasttrain("eval", "first", *IMAGES[:2], "--device", "cuda", cwd=tmp_path)


def test_bench_step_passes_through(tmp_path):
    """The other commands are the suite's."""
    fasttrain("bench", "step", "--batch-size", "8", "--image-size", "32", "--device", "cuda", "--steps", "2",
              "--repeats", "1", cwd=tmp_path)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """The folder of a miniature of scripts/gpu_suite."""
    out = tmp_path_factory.mktemp("suite") / "out"
    done("bash", "-c", 'PYTHON=$1 exec "${@:2}"', "suite", sys.executable, str(ROOT / "scripts" / "gpu_suite"), "--out",
         str(out), "--device", "cuda", "--tiny", "--stages", ",".join(STAGES), cwd=out.parent)
    return out


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_the_suite_measures(suite, stage):
    rows = json.loads((suite / f"{stage}.json").read_text())["rows"]
    assert rows and {row["status"] for row in rows.values()} == {"ok"}, (suite / f"{stage}.log").read_text()[-3000:]
