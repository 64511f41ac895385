"""Clocks for the loop: they cost next to nothing and never wait for the device."""

import collections
import resource
import sys
import time

import torch


def wait_clock(device):
    """A clock for a loop whose steps run on `device`."""
    return GpuWaitClock() if device.type == "cuda" else WaitClock()


class WaitClock:
    """Measures how long the loop waits for its next batch. `seconds` is the sum so far."""

    def __init__(self):
        self.started = time.monotonic()
        self.waited = 0.0

    @property
    def seconds(self):
        return self.waited

    def elapsed(self):
        """Seconds since the clock was made."""
        return time.monotonic() - self.started

    def over(self, iterable):
        """Yields what `iterable` yields and counts the time that it takes to do so."""
        iterator = iter(iterable)
        while True:
            asked = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += time.monotonic() - asked
            yield item


class GpuWaitClock(WaitClock):
    """Measures on the GPU's own timeline: from the end of a step's work to the arrival of the next batch.

    The host runs ahead of a GPU until the queue of launches is full. Then it waits in whichever call comes next, the
    loader's too, and a clock of the host would blame the loader for a busy GPU. `seconds` counts the steps that are
    over by now, and waits for none.
    """

    def __init__(self):
        super().__init__()
        self.pending = collections.deque()

    @property
    def seconds(self):
        while self.pending and self.pending[0][1].query():
            asked, arrived = self.pending.popleft()
            self.waited += asked.elapsed_time(arrived) / 1e3
        return self.waited

    def over(self, iterable):
        iterator = iter(iterable)
        while True:
            asked = now_on_gpu()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self.pending.append((asked, now_on_gpu()))
            yield item


def now_on_gpu():
    """A CUDA event with a time, recorded on the current stream."""
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def peak_memory_bytes(device):
    """The most memory used so far: allocated by torch on a GPU, resident for the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
