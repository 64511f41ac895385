"""Timed passes over a loader and a step: the step whole, and the step in pieces."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

from fasttrain.data.batch import Batch
from fasttrain.perf.timeline import Timeline
from fasttrain.perf.usage import Usage
from fasttrain.train.step import Step

UNTIMED_STEPS = 3
SHOWN_STEPS = 4  # in a timeline


@dataclass(frozen=True)
class Pass:
    """The steps of one pass. usage: what the process took meanwhile. busy: seconds that its cores worked while it
    waited for the loader."""

    timeline: Timeline
    usage: Usage
    busy: float
    steps: int

    def per_step(self) -> dict[str, float]:
        """Returns the mean ms a step of each phase."""
        return {phase: sum(spans) / self.steps for phase, spans in self.timeline.milliseconds().items()}

    def each_step(self) -> list[float]:
        """Returns the ms of each step that was timed whole."""
        spans = self.timeline.milliseconds()
        return [wait + step for wait, step in zip(spans["loader_wait"], spans["step"], strict=True)]

    def first_steps(self) -> list[tuple[str, float, float]]:
        """Returns (phase, begin, end) of the first steps, in ms."""
        spans = self.timeline.spans()
        begins = [place for place, (phase, _, _) in enumerate(spans) if phase == "loader_wait"]
        return spans[:begins[SHOWN_STEPS] if len(begins) > SHOWN_STEPS else len(spans)]


def endless(loader) -> Iterator[Batch]:
    """Yields the batches of one epoch after the other."""
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        yield from loader


def train(step: Step, batch: Batch, number: int) -> None:
    """Takes one training step at rate zero, so that no profile diverges."""
    step.train(batch, 0.0, number, number % len(step.losses))


def time_whole(step: Step, loader, steps: int) -> Pass:
    """Times pass A: the phases "loader_wait" and "step"."""
    return time_steps(step, loader, steps, Timeline(step.runtime.device), rest="step")


def time_split(step: Step, loader, steps: int) -> Pass:
    """Times pass B: all phases, by the step's own marks."""
    timeline = Timeline(step.runtime.device)
    with step.marked(timeline.mark):
        return time_steps(step, loader, steps, timeline, rest="other")


def time_steps(step: Step, loader, steps: int, timeline: Timeline, rest: str) -> Pass:
    """Returns the Pass of `steps` steps after a few that do not count. rest: the phase that ends with a step."""
    batches = endless(loader)
    for number in range(UNTIMED_STEPS):
        train(step, next(batches), number)
    step.runtime.synchronize()
    before, busy = Usage.now(), 0
    timeline.start()
    for number in range(steps):
        busy -= time.process_time_ns()
        batch = next(batches)
        busy += time.process_time_ns()
        timeline.mark("loader_wait")
        train(step, batch, number)
        timeline.mark(rest)
    step.runtime.synchronize()
    return Pass(timeline, Usage.now().since(before), busy / 1e9, steps)


def waits(*passes: Pass) -> dict[str, float]:
    """Returns what waiting for the loader looks like: `wait_share` of a step, `wait_busy`, the share of the wait in
    which a core worked, `bytes_read` a step. Of each the least of the passes: one hiccup of the machine names nobody.
    """
    found = []
    for one in passes:
        phases = one.per_step()
        wait = phases["loader_wait"]
        busy = one.busy / one.steps / (wait / 1e3) if wait else 1.0
        found.append((wait / sum(phases.values()), busy, one.usage.bytes_read / one.steps))
    return dict(zip(("wait_share", "wait_busy", "bytes_read"), map(min, zip(*found, strict=True)), strict=True))
