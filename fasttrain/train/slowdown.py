"""Notices a run that became several times slower than it was, and says why and what to do."""

from __future__ import annotations

import os

from fasttrain.cores import cores
from fasttrain.train.events import Progress

WINDOW = 10  # steps that are compared
SECONDS = 2.0  # what they have to take: shorter hiccups are none of a user's business
FACTOR = 3.0  # how much longer than the fastest so far


class Slowdown:
    """Watches the training steps of a run on a CPU. threads: those of the run. folder: where it could be resumed."""

    def __init__(self, threads: int, folder: str):
        self.threads, self.folder = threads, folder
        self.fastest = self.size = self.begin = None
        self.told = False

    def update(self, progress: Progress, size: int) -> str | None:
        """Takes in a training step at `size` pixels; returns one line where steps became much slower, once a run."""
        if size != self.size:
            self.size, self.fastest, self.begin = size, None, None
        if self.begin is None or progress.epoch != self.begin.epoch:
            self.begin = progress  # the first step of an epoch warms up
            return None
        steps = progress.step - self.begin.step
        if steps < WINDOW or self.told:
            return None
        seconds = progress.seconds - self.begin.seconds
        waited = (progress.data_wait_seconds - self.begin.data_wait_seconds) / seconds
        self.begin = progress
        if self.fastest is None or seconds / steps < self.fastest:
            self.fastest = seconds / steps
        times = seconds / steps / self.fastest
        if seconds < SECONDS or times < FACTOR:
            return None
        self.told = True
        return f"steps take {times:.1f} times as long as before: {self.advice(waited)}"

    def advice(self, waited: float) -> str:
        """Returns the reason and what to do. waited: the share of the time that went into waiting for data."""
        if waited > 0.5:
            return f"{waited:.0%} of it is waiting for data; is the disk busy? `--loader resident` reads it only once"
        load, count = os.getloadavg()[0], cores()
        if load < count + 0.5:
            return (f"no other program seems to use the cores (load average {load:.1f} on {count}); the CPU may be "
                    "throttled")
        fewer = (f"; or stop with Ctrl-C and go on with `--resume {self.folder} --threads {max(1, self.threads // 2)}`"
                 if self.threads > 1 else "")
        return f"other programs use the cores (load average {load:.1f} on {count}): end them{fewer}"
