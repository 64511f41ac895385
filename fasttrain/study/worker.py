"""One run in a process of its own: `python -m fasttrain.study.worker`, a config on standard input, JSON lines out.

A run that crashes or is killed for its memory then takes nothing else with it, a GPU in an error state included. The
pack stays in the page cache and compiled kernels on the disk, so the next process has both at once.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fasttrain
from fasttrain.config import RunConfig
from fasttrain.errors import FasttrainError
from fasttrain.runs.sinks.pace import Pace
from fasttrain.train.events import Sink
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.status import of_exit_code

EVERY = 0.5  # seconds between two lines on progress
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def train(config, stop, progress):
    """Trains `config` in a new process: (status, reason or None), see `status.of_exit_code`.

    stop: a `Stop`, which ends the process when a signal comes. progress: called with a dict of `epoch`,
    `epochs`, `left` (seconds) now and then.
    """
    root = str(Path(fasttrain.__file__).resolve().parents[1])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    # a session of its own: Ctrl-C reaches the study, which passes it on, and not both
    process = subprocess.Popen([sys.executable, "-m", "fasttrain.study.worker"], text=True, start_new_session=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths})
    reason = None
    with stop.ending(process), contextlib.closing(process.stdout):
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            json.dump(config.to_dict(), pipe)
        for line in process.stdout:
            message = json.loads(line)
            reason = message.get("error", reason)
            if "left" in message:
                progress(message)
        code = process.wait()
    return of_exit_code(code), reason or (how_it_ended(code) if code else None)


def how_it_ended(code):
    """The end of a process that said nothing, in words."""
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name
    return f"its process was killed by {name}" + (" (perhaps for lack of memory)" if name == "SIGKILL" else "")


class Stop(StopFlag):
    """On the first signal the run in progress gets a SIGTERM, so that it saves and ends; on a second it is killed."""

    process = None

    def handle(self, number, frame):
        super().handle(number, frame)
        if self.process:
            self.process.terminate()

    @contextlib.contextmanager
    def ending(self, process):
        """Passes signals on to `process` while the block runs; it does not outlive the block."""
        self.process = process
        if self.received:
            process.terminate()
        try:
            yield
        finally:
            self.process = None
            if process.poll() is None:
                process.kill()
            process.wait()


class Relay(Sink):
    """Tells the study how far this run is, in place of a console."""

    def __init__(self, tell):
        self.tell, self.told = tell, 0.0

    def start(self, start):
        self.pace = Pace(start.val_images, start.config.train_sizes)

    def progress(self, progress):
        self.pace.update(progress)
        now = time.monotonic()
        if now - self.told >= EVERY and self.pace.known():
            self.told = now
            self.tell({"epoch": progress.epoch, "epochs": progress.epochs, "left": self.pace.run_left()})

    def epoch(self, epoch):
        self.pace.end_epoch()


def main():
    """Runs the config on standard input; whatever else prints goes to standard error. Returns the exit code."""
    answers = os.dup(1)
    os.dup2(2, 1)
    stop_with_parent()

    def tell(message):
        with contextlib.suppress(BrokenPipeError):  # the study was killed: this run still saves
            os.write(answers, (json.dumps(message) + "\n").encode())

    try:
        from fasttrain.runs import lifecycle

        lifecycle.run(RunConfig(**json.load(sys.stdin)), console=Relay(tell))
    except FasttrainError as error:
        tell({"error": " ".join(str(error).split())})
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
        return 1
    return 0


def stop_with_parent():
    """Asks Linux for a SIGTERM when the study is killed, so that no run goes on alone."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
