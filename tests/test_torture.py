"""The short form of `scripts/torture`; and each promise that is broken on purpose is found broken."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture import watch

FEW = ("--kills", "12", "--faults", "60")
ENOUGH = ("--kills", "12", "--faults", "500")  # to find what is broken on purpose


def torture(tmp_path, *words):
    """Runs the tests' own `scripts/torture`; returns its exit code, {promise: tally} and what it printed."""
    command = [sys.executable, "-m", "tests.torture", "--out", str(tmp_path), *words]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600)
    found = json.loads((tmp_path / "torture.json").read_text())
    return done.returncode, {promise["name"]: promise for promise in found["promises"]}, done.stdout + done.stderr


def test_every_promise_holds(tmp_path):
    code, found, said = torture(tmp_path, *FEW)
    assert code == 0, said
    assert all(promise["tried"] == promise["held"] > 0 for promise in found.values())
    assert len(found) == 14 and (tmp_path / "torture.md").read_text().count("\n| ") == 15


BREAKS = {
    "no flush": "storage.sync = lambda path: None",
    "no sum": "seal.proves_itself = lambda data: True",
    "in place": "storage.write_atomically = in_place; checkpoint.write_atomically = in_place",
    "no flush of the folder": "storage.sync = lambda path: path.is_dir() or sync(path)",
}
FINDS = {"no flush": "power", "no sum": "damage", "in place": "kills", "no flush of the folder": "power"}


@pytest.mark.parametrize("name", BREAKS)
def test_a_promise_that_is_broken_on_purpose_is_found(tmp_path, name):
    program = f"""
import sys
from fasttrain import seal, storage
from fasttrain.train import checkpoint
from tests.torture.__main__ import main

sync = storage.sync


def in_place(path, content, remedy="", former=None):
    if former:
        storage.keep(path, former)
        path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


{BREAKS[name]}
sys.exit(main({["--out", str(tmp_path), *ENOUGH, "--only", FINDS[name]]!r}))
"""
    script = tmp_path / "broken.py"
    script.write_text(program)
    root = str(Path(__file__).parents[1])
    environment = {**watch.environment(), "PYTHONPATH": root}
    done = subprocess.run([sys.executable, str(script)], cwd=root, env=environment, capture_output=True, text=True,
                          timeout=600)
    found = json.loads((tmp_path / "torture.json").read_text())["promises"][0]
    assert done.returncode == 1 and found["held"] < found["tried"], done.stdout + done.stderr
