"""A timeline of phases, read only at its end: CUDA events on a GPU, a monotonic clock on a CPU."""

import time

import torch

from fasttrain.train.timing import now_on_gpu


class Timeline:
    """Notes when phases end on a device. On a GPU that is when the device gets there, and nothing waits for it."""

    def __init__(self, device: torch.device | str):
        self.on_gpu = torch.device(device).type == "cuda"
        self.start()

    def start(self) -> None:
        """Forgets what was noted; the first phase begins now."""
        self.marks = []
        self.mark("")

    def mark(self, phase: str) -> None:
        """Notes that `phase` ends now and the next one begins."""
        self.marks.append((phase, now_on_gpu() if self.on_gpu else time.perf_counter_ns()))

    def spans(self) -> list[tuple[str, float, float]]:
        """Returns (phase, its begin, its end) in order, in ms since the start. Waits for the device."""
        if self.on_gpu:
            torch.cuda.synchronize()
        first = self.marks[0][1]
        at = [first.elapsed_time(mark) if self.on_gpu else (mark - first) / 1e6 for _, mark in self.marks]
        return [(phase, at[n], at[n + 1]) for n, (phase, _) in enumerate(self.marks[1:])]

    def milliseconds(self) -> dict[str, list[float]]:
        """Returns how long each phase took whenever it ran, in ms. Waits for the device."""
        if self.on_gpu:
            torch.cuda.synchronize()
        found = {}
        for (_, began), (phase, ended) in zip(self.marks, self.marks[1:], strict=False):
            found.setdefault(phase, []).append(began.elapsed_time(ended) if self.on_gpu else (ended - began) / 1e6)
        return found


def mark_milliseconds(device: torch.device, count: int = 1000) -> float:
    """Returns what one mark costs the host, in ms."""
    timeline, started = Timeline(device), time.perf_counter_ns()
    for _ in range(count):
        timeline.mark("")
    return (time.perf_counter_ns() - started) / 1e6 / count
