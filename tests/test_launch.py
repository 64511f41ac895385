"""`--nproc`: processes that end as one, whoever is asked to stop or killed; real ones, with two ranks."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fasttrain import launch
from fasttrain.cli.main import main
from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError

TINY = ["--data", "synthetic:classes=2,train=16,val=4", "--image-size", "32", "--batch-size", "16", "--device", "cpu",
        "--precision", "fp32"]
PATIENCE = 120  # seconds for what takes three on an idle machine


class Front:
    """`fasttrain run --nproc 2`, begun; `ranks` are the process ids of its two processes."""

    def __init__(self, folder, *flags):
        self.folder, self.output = folder, folder.with_suffix(".txt")
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fasttrain", "run", *TINY, "--out", str(folder), "--nproc", "2", *flags],
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        self.wait_for(lambda: (folder / "checkpoints" / "last.pt").exists())
        self.ranks = children(self.process.pid)
        assert len(self.ranks) == 2

    def wait_for(self, done):
        until = time.monotonic() + PATIENCE
        while not done():
            assert self.process.poll() is None and time.monotonic() < until, self.output.read_text()
            time.sleep(0.05)

    def end(self):
        """(exit code, the lines that fasttrain said of its end); nothing that it started still runs."""
        code = self.process.wait(PATIENCE)
        until = time.monotonic() + PATIENCE
        while any(map(alive, self.ranks)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(alive, self.ranks))
        lines = self.output.read_text().splitlines()
        noise = re.compile(r"Traceback|terminate called|[IWEF]\d{4} |.*torch/distributed")
        assert not list(filter(noise.match, lines))
        return code, [line for line in lines if line.startswith("fasttrain:")]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("name, to, code", [
    ("SIGTERM", "front", 75), ("SIGINT", "all", 130), ("SIGHUP", "rank", 75), ("SIGUSR1", "front", 75)])
def test_a_signal_ends_all_after_one_save(tmp_path, name, to, code):
    front = Front(tmp_path / "run", "--epochs", "5000", "--set", "save_every=100")
    for pid in {"front": [front.process.pid], "rank": front.ranks[1:], "all": [front.process.pid, *front.ranks]}[to]:
        os.kill(pid, getattr(signal, name))
    ended, lines = front.end()
    assert ended == code and len(lines) == 1 and lines[0].startswith(f"fasttrain: stopped: {name}: saved after epoch")


def test_a_rank_that_is_killed_ends_all_in_one_line(tmp_path):
    front = Front(tmp_path / "run", "--epochs", "5000")
    os.kill(front.ranks[1], signal.SIGKILL)
    code, lines = front.end()
    assert code == 75 and len(lines) == 1 and "process 1: its process was killed by SIGKILL" in lines[0]
    assert f"continue with --resume {tmp_path / 'run'}" in lines[0]


def test_a_process_that_stays_stopped_is_killed(monkeypatch):
    monkeypatch.setattr(launch, "LOOK", 0.01)
    with launch.killing_stopped() as killed:
        stopped, awake = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
        stopped.send_signal(signal.SIGSTOP)
        try:
            assert stopped.wait(PATIENCE) == -signal.SIGKILL
            assert awake.poll() is None and killed == [stopped.pid]
        finally:
            awake.kill()
            stopped.kill()


def test_a_process_that_is_woken_in_time_goes_on(monkeypatch):
    monkeypatch.setattr(launch, "LOOK", 0.01)
    monkeypatch.setattr(launch, "STOPPED", 100)
    with launch.killing_stopped() as killed, subprocess.Popen(["sleep", "1000"]) as process:
        for _ in range(4):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.4)
            process.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        assert process.poll() is None and not killed
        process.kill()


def test_processes_whose_front_is_killed_save_and_end(tmp_path):
    front = Front(tmp_path / "run", "--epochs", "5000", "--set", "save_every=100")
    front.process.kill()
    code, lines = front.end()
    saved = json.loads((tmp_path / "run" / "checkpoints" / "manifest.json").read_text())["last.pt"]
    assert code == -signal.SIGKILL and lines == [
        f"fasttrain: stopped: SIGTERM: saved after epoch {saved['epoch']} + {saved['step_in_epoch']} steps; "
        f"continue with --resume {tmp_path / 'run'}"]


def test_after_a_crash_a_restart_finishes_the_run(tmp_path):
    front = Front(tmp_path / "run", "--epochs", "30", "--max-restarts", "1")
    os.kill(front.ranks[0], signal.SIGKILL)
    code, lines = front.end()
    assert code == 0 and len(lines) == 1 and "restart 1 of 1" in lines[0]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 31))


@pytest.mark.parametrize("flags, said", [
    (["--nproc", "0"], "--nproc: '0' is not a whole number of at least 1"),
    (["--nproc", "17"], "batch size 16: is too small for 17 processes"),
    (["--nproc", "2", "--max-restarts", "-1"], "--max-restarts: '-1'"),
    (["--nproc", "3", "--set", "shards=4"], "shards: 3 processes do not divide 4 slices; use 2 processes"),
    (["--set", "shards=6"], "shards: 6 is not a power of two"),
    (["--set", "shards=32"], "batch size 16: 32 shards do not divide it"),
    (["--set", "shards=4", "--set", "sync_bn=true"], "sync_bn: needs as many processes as shards (4), not 1"),
    (["--set", "shards=16"], "batch size 16: one of the 16 slices of every batch has one image"),
])
def test_bad_numbers_are_one_line_and_nothing_is_created(tmp_path, capsys, flags, said):
    out = tmp_path / "run"
    assert main(["run", *TINY, "--out", str(out), *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error
    assert not out.exists()


def test_nproc_has_to_agree_with_torchrun(monkeypatch):
    config = RunConfig()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launch.wanted("2", config) == launch.wanted(None, config) == 1
    with pytest.raises(ConfigError, match="--nproc 3: torchrun has started 2"):
        launch.wanted("3", config)
