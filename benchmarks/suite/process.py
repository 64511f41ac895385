"""One command under a time limit, which takes all its processes with it when it ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time

GRACE_SECONDS = 20  # between asking and killing: a training run saves a checkpoint in it
PR_SET_PDEATHSIG = 1


def run(command, seconds, log, environment=None):
    """Runs `command` with its output appended to the open file `log`; how it ended: "ok", "failed" or "out of time".

    At the limit its process group is asked to end, and killed if it does not. So it is when an exception (a signal to
    the suite) passes through here; and the command dies with the suite, should that be killed.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                               env={**os.environ, **(environment or {})}, preexec_fn=leave_the_group)
    try:
        return "ok" if process.wait(seconds) == 0 else "failed"
    except subprocess.TimeoutExpired:
        return "out of time"
    finally:
        end_group(process)


def leave_the_group():
    """In the child: a process group of its own, and SIGKILL where the suite dies first (Linux)."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_group(process):
    """Ends what is left of the group that `process` leads."""
    try:
        if process.poll() is None:
            signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
    finally:
        signal_group(process, signal.SIGKILL)
        process.wait()


def signal_group(process, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class Clock:
    """Seconds left of a budget; without one (None) it never ends."""

    def __init__(self, seconds):
        self.end = float("inf") if seconds is None else time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()
