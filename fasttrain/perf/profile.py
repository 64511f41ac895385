"""Where a training step's time goes, in three passes over the same loader and step.

A: the step as it trains, whole. B: the same step with marks between its phases; a CUDA graph, inside of which phases
cannot be told apart, gives way to its kernels one by one. C: a few steps under torch.profiler, for operators and a
trace.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fasttrain.data.batch import Batch
from fasttrain.perf import ceilings as machine
from fasttrain.perf.cost import step_cost
from fasttrain.perf.timeline import Timeline, mark_milliseconds
from fasttrain.perf.verdict import Shares, bound_by, sentence
from fasttrain.train.compile import untouched
from fasttrain.train.step import Step

PHASES = ("loader_wait", "host_to_device", "forward", "backward", "optimizer", "other")
UNTIMED_STEPS = 3
TRACED_STEPS = 3
TOP_OPERATORS = 12


@dataclass(frozen=True)
class Profile:
    """What a profile found.

    result: what `profile.json` holds. details: the rest, such as operators, costs, and what measuring itself took.
    """

    result: dict
    details: dict


def profile(step: Step, loader, loader_name: str, steps: int, trace_path: Path | None = None) -> Profile:
    """Returns the Profile of a warmed-up Step on the batches of `loader`, over `steps` timed steps in each pass.

    Writes a gzipped Chrome trace to `trace_path` (open it in https://ui.perfetto.dev). The weights stay as they were.
    """
    with untouched(step):
        pass_a, pass_b = time_whole(step, loader, steps), time_split(step, loader, steps)
        traced = trace(step, loader, trace_path)
        cost = step_cost(step)  # here, because a lazy optimizer has its state now
    whole, split = per_step(pass_a, steps), per_step(pass_b, steps)
    wait_ms, step_ms, split_ms = whole["loader_wait"], sum(whole.values()), sum(split.values())
    runtime, batch_size = step.runtime, step.config.batch_size
    ceilings = machine.measure(runtime.device, runtime.dtype)
    flops, moved = cost.of_step(batch_size)
    shares = Shares(data=wait_ms / step_ms, launch=launch_share(traced, wait_ms, step_ms),
                    bandwidth=moved / ceilings["copy_bytes_per_second"] / step_ms * 1e3,
                    mfu=flops / ceilings["matmul_flops"] / step_ms * 1e3)
    setting = {"loader": loader_name, "batch_size": batch_size, "compile": runtime.compile,
               "precision": runtime.precision, "device_type": runtime.device.type}
    bound = bound_by(shares, runtime.device.type)
    result = {"phases_ms": {phase: split.get(phase, 0.0) for phase in PHASES}, "step_ms": step_ms,
              "split_step_ms": split_ms, "images_per_second": batch_size / step_ms * 1e3,
              "mfu": shares.mfu, "bandwidth_share": shares.bandwidth, "ceilings": ceilings, "bound": bound,
              "verdict": sentence(bound, shares, ceilings, setting)}
    mark_ms = mark_milliseconds(runtime.device) / steps
    measuring = {"whole": len(pass_a.marks) * mark_ms / step_ms, "split": len(pass_b.marks) * mark_ms / split_ms}
    details = {**setting, "variant": step.config.variant, "steps": steps, "step_flops": flops, "step_bytes": moved,
               "not_counted": cost.not_counted, "loader_wait_ms": wait_ms, "launch_share": shares.launch,
               "measuring_share": measuring, "operators": traced["operators"]}
    return Profile(result, details)


def endless(loader) -> Iterator[Batch]:
    """Yields the batches of one epoch after the other."""
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        yield from loader


def train(step: Step, batch: Batch, number: int) -> None:
    """Takes one training step at rate zero, so that no profile diverges."""
    step.train(batch, 0.0, number, number % len(step.losses))


def time_whole(step: Step, loader, steps: int) -> Timeline:
    """Times pass A: the phases "loader_wait" and "step"."""
    return time_steps(step, loader, steps, Timeline(step.runtime.device), rest="step")


def time_split(step: Step, loader, steps: int) -> Timeline:
    """Times pass B: all of PHASES, by the step's own marks."""
    timeline = Timeline(step.runtime.device)
    with step.marked(timeline.mark):
        return time_steps(step, loader, steps, timeline, rest="other")


def time_steps(step: Step, loader, steps: int, timeline: Timeline, rest: str) -> Timeline:
    """Returns the timeline of `steps` steps after a few that do not count. rest: the phase that ends with a step."""
    batches = endless(loader)
    for number in range(UNTIMED_STEPS):
        train(step, next(batches), number)
    step.runtime.synchronize()
    timeline.start()
    for number in range(steps):
        batch = next(batches)
        timeline.mark("loader_wait")
        train(step, batch, number)
        timeline.mark(rest)
    return timeline


def per_step(timeline: Timeline, steps: int) -> dict[str, float]:
    """Returns the mean ms a step of each phase."""
    return {phase: sum(spans) / steps for phase, spans in timeline.milliseconds().items()}


def trace(step: Step, loader, path: Path | None) -> dict:
    """Traces pass C; writes the trace to `path`.

    Returns "operators": the costliest ones; "calls": operators started a step; "busy_ms": ms a step in which a GPU
    works, None on a CPU.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports its start and stop on stderr
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    on_gpu = step.runtime.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    batches = endless(loader)
    with torch_profile(activities=activities, acc_events=True) as profiler:  # torch 2.11 warns without
        for number in range(TRACED_STEPS):
            train(step, next(batches), number)
        step.runtime.synchronize()
    if path is not None:
        profiler.export_chrome_trace(str(path))
    calls = sum(map(is_call, profiler.events())) / TRACED_STEPS
    return {"calls": calls, **summarize_trace(profiler.key_averages(), on_gpu)}


def is_call(event) -> bool:
    """Returns whether an event of a trace is an operator that the program started, not another operator."""
    def is_operator(event):
        return event is not None and event.name.startswith("aten::")

    return is_operator(event) and not is_operator(event.cpu_parent)


def summarize_trace(events, on_gpu: bool) -> dict:
    """Returns the "operators" and "busy_ms" of `trace`, from torch.profiler's averages."""
    def microseconds(event):
        return event.self_device_time_total if on_gpu else event.self_cpu_time_total

    # on a GPU's timeline a named range, such as the optimizer's, counts its kernels once more
    kernels = [event for event in events
               if not on_gpu or event.device_type != torch.autograd.DeviceType.CPU and not event.is_user_annotation]
    total = sum(map(microseconds, kernels)) or 1
    ranked = sorted(kernels, key=microseconds, reverse=True)[:TOP_OPERATORS]
    operators = [{"name": event.key, "ms": microseconds(event) / 1e3 / TRACED_STEPS,
                  "share": microseconds(event) / total, "calls": event.count / TRACED_STEPS} for event in ranked]
    return {"operators": operators, "busy_ms": total / 1e3 / TRACED_STEPS if on_gpu else None}


def launch_share(traced: dict, wait_ms: float, step_ms: float) -> float:
    """Returns the share of a step in which the device has nothing to do but does not wait for data either.

    On a GPU: the time without a kernel. On a CPU: what starting that many operators costs.
    """
    if traced["busy_ms"] is not None:
        return max(0.0, 1 - (traced["busy_ms"] + wait_ms) / step_ms)
    return min(1.0, traced["calls"] * machine.operator_seconds() * 1e3 / step_ms)
