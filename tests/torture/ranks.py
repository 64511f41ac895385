"""Several processes of one run: one is killed, stopped, or gets a signal, and nothing stays behind."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from fasttrain.train.checkpoint import Checkpoints
from tests.torture.subjects import WORDS, Run, digest
from tests.torture.table import Tally

EPOCHS = 60
LIMITS = {"killed": 10, "restarted": 60, "frozen": 60, "signal": 10}  # seconds from the harm to the end of all
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Ranks(Run):
    """A run in several processes, started anew as a user would."""

    def __init__(self, folder: Path, size: int):
        super().__init__(folder)
        self.size = size

    def start(self, *more: str) -> subprocess.Popen:
        words = list(WORDS)
        words[words.index("--epochs") + 1] = str(EPOCHS)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        words += ["--out", str(self.folder), "--resume", "auto", "--nproc", str(self.size), *more]
        return subprocess.Popen([sys.executable, "-m", "fasttrain", "run", *words], start_new_session=True,
                                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def result(self) -> tuple:
        state = Checkpoints(self.folder / "checkpoints").load("last")
        return state["epoch"], digest(state["model"])

    def finish(self) -> str | None:
        """Runs to the end; returns what went wrong."""
        process = self.start()
        _, errors = process.communicate(timeout=300)
        return f"ends with {process.returncode}: {errors[-300:]!r}" if process.returncode else None


def harm_ranks(tally: Tally, count: int, size: int, seed: int, place: Path) -> None:
    """Kills one of the processes `count` times, `count` times with a restart, and tries the other harms beside that."""
    whole = Ranks(place / "whole", size)
    if fault := whole.finish():
        tally.check("unbroken", fault)
        return
    expected = whole.result()
    harms = [*["killed"] * count, *["restarted"] * count, *["frozen"] * max(1, count // 10)]
    harms += [(kind, to) for kind in SIGNALS for to in ("front", "group", "rank")] * max(1, count // 20)
    for trial, harm in enumerate(harms):
        rng = random.Random(f"{seed} ranks {trial}")
        run = Ranks(place / "run", size)
        shutil.rmtree(run.folder, ignore_errors=True)
        name = harm if isinstance(harm, str) else "signal"
        tally.counts[harm if isinstance(harm, str) else f"{harm[0].name} to {harm[1]}"] += 1
        tally.check(f"trial {trial}, {harm}", *one(run, harm, LIMITS[name], rng), None if run.result() == expected
                    else "another result")


def one(run: Ranks, harm, limit: float, rng: random.Random) -> list[str | None]:
    """Harms one run and finishes it; returns what went wrong, None for each that did not."""
    process = run.start(*(["--max-restarts", "1"] if harm == "restarted" else []))
    until = time.monotonic() + 60
    while not (run.folder / "checkpoints" / "last.pt").exists() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.5))
    ranks = workers(process.pid)
    hit = rng.choice(ranks) if ranks else process.pid
    if harm in ("killed", "restarted"):
        os.kill(hit, signal.SIGKILL)
    elif harm == "frozen":
        os.kill(hit, signal.SIGSTOP)
    else:
        kind, to = harm
        {"front": lambda: os.kill(process.pid, kind), "group": lambda: os.killpg(process.pid, kind),
         "rank": lambda: os.kill(hit, kind)}[to]()
    sent = time.monotonic()
    try:
        _, errors = process.communicate(timeout=limit + 60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return ["hangs"]
    took, left = time.monotonic() - sent, [pid for pid in ranks if alive(pid)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    code, faults = process.returncode, []
    if harm == "restarted":
        faults.append(f"ends with {code}: {errors[-300:]!r}" if code else None)
    elif not isinstance(harm, str):
        wanted = 130 if harm[0] == signal.SIGINT else 75
        faults.append(f"ends with {code}, not {wanted}: {errors[-300:]!r}" if code not in (0, wanted) else None)
    faults += ["a traceback" if "Traceback" in errors else None, f"took {took:.1f} s" if took > limit else None,
               f"left running: {left}" if left else None]
    return [*faults, run.finish()]


def workers(front: int) -> list[int]:
    """Returns the processes that a launcher has started and that take part in the run."""
    found = []
    for task in Path(f"/proc/{front}/task").glob("*/children"):
        for pid in map(int, task.read_text().split()):
            with contextlib.suppress(OSError):
                if b"fasttrain" in Path(f"/proc/{pid}/cmdline").read_bytes() and alive(pid):
                    found.append(pid)
    return found


def alive(pid: int) -> bool:
    """Returns whether a process is there and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
