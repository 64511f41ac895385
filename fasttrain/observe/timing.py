"""Host clocks for the loop: they cost nanoseconds and never wait for the device."""

import resource
import sys
import time

import torch


class WaitClock:
    """Measures how long the loop waits for its next batch. `seconds` is the sum so far."""

    def __init__(self):
        self.started = time.monotonic()
        self.seconds = 0.0

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
                self.seconds += time.monotonic() - asked
            yield item


def peak_memory_bytes(device):
    """The most memory used so far: allocated by torch on a GPU, resident for the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
