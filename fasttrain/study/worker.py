"""One run in a process of its own, which is `python -m fasttrain.study.worker`; see `fasttrain.workers`.

The pack stays in the page cache and compiled kernels on the disk, so the next process has both at once.
"""

import contextlib
import os
import queue
import shlex
import subprocess
import sys
import time
from collections.abc import Callable

from fasttrain.config import RunConfig
from fasttrain.cores import cores
from fasttrain.errors import ConfigError, FasttrainError
from fasttrain.launch import launch
from fasttrain.runs.sinks.pace import Pace
from fasttrain.train.events import Sink
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.status import of_exit_code
from fasttrain.workers import PATIENCE, Worker, connect, how_it_ended

EVERY = 0.5  # seconds between two messages on progress


def train(config: RunConfig, stop: "Stop", progress: Callable[[dict], None], nproc: int = 1,
          environment: dict[str, str] | None = None,
          validated: Callable[[int], None] | None = None) -> tuple[str, str | None]:
    """Trains `config` in a new process: returns (status, reason or None), see `status.of_exit_code`.

    stop: ends the process when a signal comes. progress: called with a dict of `epoch`, `epochs`, `left` (seconds) now
    and then. validated: called with the number of each epoch, once it is validated. nproc: processes that share the
    run; of more than one there is neither. environment: their variables.
    """
    reason = None
    # a session of its own: Ctrl-C reaches the study, which passes it on, and not both
    with Worker("fasttrain.study.worker", environment, own_session=True) as worker, stop.ending(worker.process):
        worker.send({"config": config.to_dict(), "nproc": nproc})
        while (message := worker.receive()) is not None:
            reason = message.get("error", reason)
            if "left" in message:
                progress(message)
            elif validated and "validated" in message:
                validated(message["validated"])
        code = worker.process.wait()
    return of_exit_code(code), reason or (how_it_ended(code) if code else None)


class Slots:
    """Trains as many runs at a time as there are slots, each with GPUs of its own, or its share of the cores.

    Raises ConfigError where there are too few GPUs.
    """

    def __init__(self, jobs: int, nproc: int, device: str):
        gpus = visible_gpus() if device != "cpu" else []
        if gpus and jobs * nproc > len(gpus):
            raise ConfigError(f"--jobs {jobs}, --nproc {nproc}: need {jobs * nproc} GPUs, there are {len(gpus)}")
        self.nproc, self.free = nproc, queue.SimpleQueue()
        for job in range(jobs):
            own = ",".join(gpus[job * nproc:(job + 1) * nproc])
            threads = str(max(1, cores() // (jobs * nproc)))
            share = {"CUDA_VISIBLE_DEVICES": own} if own else {"OMP_NUM_THREADS": threads}
            self.free.put(share if jobs > 1 else None)

    def __call__(self, config: RunConfig, stop: "Stop", progress: Callable[[dict], None]) -> tuple[str, str | None]:
        environment = self.free.get()
        try:
            return train(config, stop, progress, self.nproc, environment)
        finally:
            self.free.put(environment)


def visible_gpus() -> list[str]:
    """Returns the names by which CUDA_VISIBLE_DEVICES knows the GPUs that this process sees."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return named[:count] if named != [""] else [str(number) for number in range(count)]


class Stop(StopFlag):
    """On the first signal the runs in progress get a SIGTERM, to save and end; on a second they are killed."""

    def __init__(self):
        super().__init__()
        self.processes: list[subprocess.Popen] = []

    def handle(self, number, frame):
        try:
            super().handle(number, frame)
        except KeyboardInterrupt:
            for process in list(self.processes):
                process.kill()
            raise
        for process in list(self.processes):
            process.terminate()

    @contextlib.contextmanager
    def ending(self, process: subprocess.Popen):
        """Passes signals on to `process` while the block runs; it does not outlive the block."""
        self.processes.append(process)
        if self.received:
            process.terminate()
        try:
            yield
        finally:
            self.processes.remove(process)
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


def when_free(train: Callable[[], object], patience: float = PATIENCE) -> None:
    """Calls `train` until its run folder is free, for `patience` seconds.

    The run of a study that was killed saves and ends a little later than the study itself.
    """
    from fasttrain.runs.folder import Taken

    until = time.monotonic() + patience
    while True:
        try:
            train()
            return
        except Taken:
            if time.monotonic() > until:
                raise
            time.sleep(EVERY)


def main() -> int:
    """Trains the config that the study sends; returns the exit code."""
    messages, tell = connect()
    request = next(messages)
    config, nproc = RunConfig(**request["config"]), request["nproc"]
    try:
        if nproc > 1:
            words = [*shlex.split(config.command())[1:], "--out", config.out, "--resume", config.resume]
            return launch(config, nproc, 0, words, say=lambda text: tell({"error": text}))
        from fasttrain.runs import lifecycle

        when_free(lambda: lifecycle.run(config, console=Relay(tell)))
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
