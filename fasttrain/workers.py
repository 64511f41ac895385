"""Work in a process of its own, such as a training run: a module of this package, JSON lines in and out.

What crashes there, or is killed for its memory, takes nothing else with it, a GPU in an error state included.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fasttrain

PATIENCE = 30  # seconds that a process may take to end once its standard input is closed
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Worker:
    """The parent's end of a process that runs `python -m MODULE`; a context manager that ends it.

    environment: variables beside this process's own. own_session: Ctrl-C then reaches only this process, which passes
    it on or does not.
    """

    def __init__(self, module: str, environment: dict[str, str] | None = None, own_session: bool = False):
        root = str(Path(fasttrain.__file__).resolve().parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen([sys.executable, "-m", module], text=True, start_new_session=own_session,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})})

    def send(self, message: Any) -> None:
        """Hands the process a message; one that has ended gets none."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def receive(self) -> Any:
        """Returns the next message of the process, waiting for it; None once the process has ended."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def close(self) -> int:
        """Ends the process, gently and then by force; returns its exit code, negative for a signal."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def how_it_ended(code: int) -> str:
    """Says in words how a process ended that gave no reason itself; `code` as from `Worker.close`."""
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name
    return f"its process was killed by {name}" + (" (perhaps for lack of memory)" if name == "SIGKILL" else "")


def stat(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat behind the name: the state first. OSError where there is no such process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def die_with_parent(number: signal.Signals) -> None:
    """Lets this process get a signal when the one that started it ends, however it ends. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def connect() -> tuple[Iterator[Any], Callable[[Any], None]]:
    """In the process: returns an iterator over the parent's messages, and a function that sends it one.

    Whatever else prints goes to standard error from here on. When the parent is killed, this process gets a SIGTERM.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    die_with_parent(signal.SIGTERM)

    def send(message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone: what is under way still ends as it should
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    return (json.loads(line) for line in iter(sys.stdin.readline, "")), send
