"""Runs one command under a time limit; all its processes end with it."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from typing import TextIO

GRACE_SECONDS = 20  # between asking and killing: a training run saves a checkpoint in it
PR_SET_PDEATHSIG = 1


def run(command: list[str], seconds: float, log: TextIO, environment: dict[str, str] | None = None) -> str:
    """Runs `command`, its output appended to `log`; returns "ok", "failed" or "out of time".

    At the limit, or when a signal to the suite raises an exception here, the process group is asked to end, and killed
    if it does not. The command dies with the suite if that is killed.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                               env={**os.environ, **(environment or {})}, preexec_fn=leave_the_group)
    try:
        return "ok" if process.wait(seconds) == 0 else "failed"
    except subprocess.TimeoutExpired:
        return "out of time"
    finally:
        end_group(process)


def leave_the_group() -> None:
    """Gives the child a process group of its own, and SIGKILL if the suite dies first (Linux)."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_group(process: subprocess.Popen) -> None:
    """Ends what is left of the group that `process` leads."""
    try:
        if process.poll() is None:
            signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
    finally:
        signal_group(process, signal.SIGKILL)
        process.wait()


def signal_group(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class Clock:
    """Counts the seconds left of a budget; without one (None) it never ends."""

    def __init__(self, seconds: float | None):
        self.end = float("inf") if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()
