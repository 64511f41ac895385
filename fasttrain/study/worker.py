"""One run in a process of its own, which is `python -m fasttrain.study.worker`; see `fasttrain.workers`.

The pack stays in the page cache and compiled kernels on the disk, so the next process has both at once.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable

from fasttrain.config import RunConfig
from fasttrain.errors import FasttrainError
from fasttrain.runs.sinks.pace import Pace
from fasttrain.train.events import Sink
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.status import of_exit_code
from fasttrain.workers import Worker, connect, how_it_ended

EVERY = 0.5  # seconds between two messages on progress


def train(config: RunConfig, stop: "Stop", progress: Callable[[dict], None]) -> tuple[str, str | None]:
    """Trains `config` in a new process: returns (status, reason or None), see `status.of_exit_code`.

    stop: ends the process when a signal comes. progress: called with a dict of `epoch`, `epochs`, `left` (seconds) now
    and then.
    """
    reason = None
    # a session of its own: Ctrl-C reaches the study, which passes it on, and not both
    with Worker("fasttrain.study.worker", own_session=True) as worker, stop.ending(worker.process):
        worker.send(config.to_dict())
        while (message := worker.receive()) is not None:
            reason = message.get("error", reason)
            if "left" in message:
                progress(message)
        code = worker.process.wait()
    return of_exit_code(code), reason or (how_it_ended(code) if code else None)


class Stop(StopFlag):
    """On the first signal the run in progress gets a SIGTERM, so that it saves and ends; on a second it is killed."""

    process = None

    def handle(self, number, frame):
        super().handle(number, frame)
        if self.process:
            self.process.terminate()

    @contextlib.contextmanager
    def ending(self, process: subprocess.Popen):
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
        self.tell({"validated": epoch.row["epoch"]})


def main() -> int:
    """Trains the config that the study sends; returns the exit code."""
    messages, tell = connect()
    try:
        from fasttrain.runs import lifecycle

        lifecycle.run(RunConfig(**next(messages)), console=Relay(tell))
    except FasttrainError as error:
        tell({"error": " ".join(str(error).split())})
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
