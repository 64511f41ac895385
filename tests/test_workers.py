"""Workers: messages both ways, whatever else is printed; how a process ended; none outlives its parent."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fasttrain import workers
from fasttrain.workers import Worker, how_it_ended

ECHO = """
from fasttrain.workers import connect

messages, send = connect()
for message in messages:
    print("noise")
    send({"got": message})
"""
PARENT = """
import os
from fasttrain.workers import Worker

worker = Worker("echo_worker")
worker.send(1)
worker.receive()
print(worker.process.pid, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """A folder of worker modules that processes find: `echo_worker` sends back what it gets."""
    (tmp_path / "echo_worker.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_messages_of_any_size_go_both_ways_and_noise_is_none(capfd):
    with Worker("echo_worker") as worker:
        for message in ("a word", {"nested": [1, None, "two\nlines"]}, "x" * 1_000_000):
            worker.send(message)
            assert worker.receive() == {"got": message}
    assert worker.process.returncode == 0
    assert capfd.readouterr().err == "noise\n" * 3


def test_a_process_that_ended_answers_none_and_is_told_in_words(modules):
    (modules / "dies.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    worker = Worker("dies")
    worker.process.wait()
    worker.send("nobody reads this")
    assert worker.receive() is None
    assert "SIGKILL" in how_it_ended(worker.close()) and "memory" in how_it_ended(-9)
    assert "SIGSEGV" in how_it_ended(-11) and "code 3" in how_it_ended(3)


def test_a_process_that_does_not_end_is_killed(modules, monkeypatch):
    (modules / "stays.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(workers, "PATIENCE", 0.1)
    assert Worker("stays").close() == -signal.SIGKILL


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux only")
def test_no_worker_outlives_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)
    parent.stdin.close()
    parent.stdout.close()


def alive(process):
    """Whether a process runs; one that has ended and that nobody waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_session_of_its_own_keeps_ctrl_c_away():
    with Worker("echo_worker", own_session=True) as worker:
        assert os.getsid(worker.process.pid) == worker.process.pid
