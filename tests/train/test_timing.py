"""How long a loop waits for its batches, on the host's clock and on a GPU's timeline."""

import time

import pytest
import torch

from fasttrain.train import timing
from fasttrain.train.timing import GpuWaitClock, WaitClock, wait_clock


def slow(delays):
    for delay in delays:
        time.sleep(delay)
        yield delay


def test_the_host_counts_waiting_and_not_working():
    clock = wait_clock(torch.device("cpu"))
    assert type(clock) is WaitClock
    for _ in clock.over(slow([0.02, 0.02])):
        time.sleep(0.05)
    assert 0.04 <= clock.seconds < clock.elapsed() - 0.1


class Gpu:
    """A GPU's timeline by hand, in milliseconds: work is queued up to `queued` and done up to `done`."""

    def __init__(self):
        self.queued = self.done = 0.0

    def event(self):
        gpu, now = self, self.queued

        class Event:
            when = now

            def query(self):
                return self.when <= gpu.done

            def elapsed_time(self, later):
                return later.when - self.when

        return Event()


def test_a_gpu_counts_on_its_own_timeline_and_is_never_waited_for(monkeypatch):
    gpu = Gpu()
    monkeypatch.setattr(timing, "now_on_gpu", gpu.event)
    clock = wait_clock(torch.device("cuda"))
    assert type(clock) is GpuWaitClock

    def batches():
        for gather_ms in (30, 40):
            gpu.queued += gather_ms
            time.sleep(0.05)  # the host waits here for a place in the queue, which is no waiting for data
            yield gather_ms

    for _ in clock.over(batches()):
        gpu.queued += 1000
    assert clock.seconds == 0  # nothing of it is over yet
    gpu.done = 500
    assert clock.seconds == pytest.approx(0.030)
    gpu.done = gpu.queued
    assert clock.seconds == pytest.approx(0.070) == clock.seconds
