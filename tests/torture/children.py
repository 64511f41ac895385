"""Runs of fasttrain in forked children: nothing is imported again, so that one takes a moment."""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture import watch
from tests.torture.watch import UNTOUCHED, Call, Fate

PATIENCE = 60  # seconds after which a child hangs


@dataclass
class Ended:
    """How a child ended. code: its exit code, or minus the signal that ended it. text: what it printed.

    seconds: how long it ran. answered: seconds from the signal that it was sent to its end.
    """

    code: int
    text: str
    seconds: float
    calls: list[Call] = field(default_factory=list)
    answered: float = 0.0

    @property
    def hung(self) -> bool:
        return self.seconds > PATIENCE

    def said_one_line(self) -> bool:
        """Returns whether its errors are one line, after any warnings."""
        errors = [line for line in self.text.splitlines() if line.startswith(("fasttrain: error", "Traceback"))]
        return len(errors) == 1 and errors[0].startswith("fasttrain: error") and not self.traceback()

    def traceback(self) -> bool:
        return "Traceback" in self.text


def child(work: Callable[[], int], folder: Path, fate: Fate = UNTOUCHED, after: float | None = None,
          send: signal.Signals = signal.SIGKILL, when: Callable[[list[Call]], bool] | None = None,
          with_bytes: bool = False) -> Ended:
    """Runs `work` in a child that is watched below `folder`; returns how it ended.

    after: the child gets the signal `send` so many seconds after it began, or after `when(calls)` was true.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    notes, output = (folder.with_name(folder.name + end) for end in (".calls", ".output"))
    for path in (notes, output):
        path.unlink(missing_ok=True)
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        run(work, folder, fate, notes, output, with_bytes)
    sent = None
    due = None if after is None or when else started + after
    while not (found := os.waitpid(pid, os.WNOHANG))[0]:
        now = time.monotonic()
        if after is not None and when and due is None and notes.exists() and when(noted(notes)):
            due = now + after
        if due and now >= due and sent is None:
            sent = now
            os.kill(pid, send)
        if now - started > PATIENCE:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    ended = time.monotonic()
    return Ended(os.waitstatus_to_exitcode(found[1]), output.read_text(errors="replace") if output.exists() else "",
                 ended - started, noted(notes), ended - sent if sent else 0.0)


def noted(notes: Path) -> list[Call]:
    """Returns the calls noted so far; the last one may be under way."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        return watch.read(notes)
    return []


def run(work: Callable[[], int], folder: Path, fate: Fate, notes: Path, output: Path, with_bytes: bool) -> None:
    """Is the child: does `work`, watched, and ends."""
    code = 99
    try:
        to = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(to, 1)
        os.dup2(to, 2)
        with watch.noting(folder, notes, fate, with_bytes):
            code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
