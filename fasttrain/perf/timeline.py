"""Marks along a timeline, resolved only at the end: CUDA events on a GPU, a monotonic clock on a CPU."""

import time

import numpy as np
import torch

from fasttrain.train.timing import now_on_gpu


class Marks:
    """`mark()` notes now, for the device: on a GPU the moment when it gets there, without waiting for it."""

    def __init__(self, device):
        self.on_gpu = torch.device(device).type == "cuda"
        self.marks = []

    def mark(self):
        if self.on_gpu:
            self.marks.append(now_on_gpu())
        else:
            self.marks.append(time.perf_counter_ns())

    def milliseconds(self, phases=1):
        """Between each mark and the next, in ms: [steps, phases]. Waits for the device."""
        if self.on_gpu:
            torch.cuda.synchronize()
            spans = [a.elapsed_time(b) for a, b in zip(self.marks, self.marks[1:], strict=False)]
        else:
            spans = np.diff(self.marks) / 1e6
        return np.array(spans).reshape(-1, phases)


class Timeline:
    """Marks with names: what lies between a mark and the one before it counts for its name."""

    def __init__(self, device):
        self.marks, self.names = Marks(device), []

    def start(self):
        """Begins anew with the next span."""
        self.marks.marks.clear()
        self.names.clear()
        self.marks.mark()

    def mark(self, name):
        self.marks.mark()
        self.names.append(name)

    def milliseconds(self, phases, steps):
        """Returns the ms of each phase in each step, [steps, phases]; steps have equal marks. Waits for the device."""
        spans = self.marks.milliseconds().reshape(steps, -1)
        names = np.array(self.names).reshape(steps, -1)[0]
        return np.stack([spans[:, names == phase].sum(1) for phase in phases], axis=1)


def mark_milliseconds(device, count=1000):
    """What one mark costs the host."""
    marks = Marks(device)
    started = time.perf_counter_ns()
    for _ in range(count):
        marks.mark()
    return (time.perf_counter_ns() - started) / 1e6 / count
