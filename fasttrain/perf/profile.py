"""Where a training step's time goes, in three passes over the same loader and step.

A: the step as it trains, whole. B: its pieces one after the other, with a mark between them, since inside one replayed
CUDA graph phases cannot be told apart. C: a few steps under torch.profiler, for operators and a trace.
"""

import itertools
import os
from dataclasses import dataclass

import torch

from fasttrain.perf import ceilings as machine
from fasttrain.perf.cost import step_cost
from fasttrain.perf.timeline import Marks, Timeline, mark_milliseconds
from fasttrain.perf.verdict import Shares, bound_by, sentence
from fasttrain.train.compile import untouched

PHASES = ("loader_wait", "host_to_device", "forward", "backward", "optimizer", "other")
UNTIMED_STEPS = 3
TRACED_STEPS = 3
TOP_OPERATORS = 12


@dataclass(frozen=True)
class Profile:
    """`result` is what `profile.json` holds; `details` the rest: operators, costs, what measuring itself took."""

    result: dict
    details: dict


def profile(step, loader, loader_name, steps, trace_path=None):
    """The Profile of a warmed-up train `Step` on the batches of `loader`, over `steps` timed steps in each pass.

    Writes a gzipped Chrome trace to `trace_path` (open it in https://ui.perfetto.dev). The weights stay as they were.
    """
    with untouched(step):
        whole = time_whole(step, loader, steps)
        split = time_split(step, loader, steps)
        traced = trace(step, loader, trace_path)
    wait_ms, step_ms = float(whole[:, 0].mean()), float(whole.sum(1).mean())
    runtime, batch_size = step.runtime, step.config.batch_size
    ceilings = machine.measure(runtime.device, runtime.dtype)
    flops, moved = step_cost(step).of_step(batch_size)
    shares = Shares(data=wait_ms / step_ms, launch=launch_share(traced, wait_ms, step_ms),
                    bandwidth=moved / ceilings["copy_bytes_per_second"] / step_ms * 1e3,
                    mfu=flops / ceilings["matmul_flops"] / step_ms * 1e3)
    setting = {"loader": loader_name, "batch_size": batch_size, "compile": runtime.compile,
               "precision": runtime.precision, "device_type": runtime.device.type}
    bound = bound_by(shares, runtime.device.type)
    result = {"phases_ms": dict(zip(PHASES, split.mean(0).tolist(), strict=True)), "step_ms": step_ms,
              "split_step_ms": float(split.sum(1).mean()), "images_per_second": batch_size / step_ms * 1e3,
              "mfu": shares.mfu, "bandwidth_share": shares.bandwidth, "ceilings": ceilings, "bound": bound,
              "verdict": sentence(bound, shares, ceilings, setting)}
    mark_ms = mark_milliseconds(runtime.device)
    measuring = {"whole": 2 * mark_ms / step_ms, "split": len(PHASES) * mark_ms / result["split_step_ms"]}
    details = {**setting, "variant": step.config.variant, "steps": steps, "step_flops": flops, "step_bytes": moved,
               "loader_wait_ms": wait_ms, "launch_share": shares.launch, "measuring_share": measuring,
               "operators": traced["operators"]}
    return Profile(result, details)


def endless(loader):
    """The batches of one epoch after the other."""
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        yield from loader


def train(step, batch, number):
    """One training step at rate zero, so that no profile diverges."""
    step.train(batch, 0.0, number, number % len(step.losses))


def time_whole(step, loader, steps):
    """Pass A, ms: [steps, 2], waiting for the batch and the step itself."""
    batches = endless(loader)
    for number in range(UNTIMED_STEPS):
        train(step, next(batches), number)
    step.runtime.synchronize()
    marks = Marks(step.runtime.device)
    marks.mark()
    for number in range(steps):
        batch = next(batches)
        marks.mark()
        train(step, batch, number)
        marks.mark()
    return marks.milliseconds(2)


def time_split(step, loader, steps):
    """Pass B, ms: [steps, phases] in the order of PHASES, by the step's own marks."""
    batches, timeline = endless(loader), Timeline(step.runtime.device)
    with step.marked(timeline.mark):
        for number in range(UNTIMED_STEPS + steps):
            if number == UNTIMED_STEPS:
                step.runtime.synchronize()
                timeline.start()
            batch = next(batches)
            timeline.mark("loader_wait")
            train(step, batch, number)
    return timeline.milliseconds(PHASES, steps)


def trace(step, loader, path):
    """Pass C: {"operators": the costliest, "calls": operators a step, "busy_ms": of a GPU a step, None on a CPU}."""
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


def is_call(event):
    """Whether an event of a trace is an operator that the program started, not another operator."""
    def is_operator(event):
        return event is not None and event.name.startswith("aten::")

    return is_operator(event) and not is_operator(event.cpu_parent)


def summarize_trace(events, on_gpu):
    """The "operators" and "busy_ms" of `trace` from torch.profiler's averages."""
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


def launch_share(traced, wait_ms, step_ms):
    """The share of a step in which the device has nothing to do but is not waiting for data either.

    On a GPU: the time without a kernel. On a CPU: what starting that many operators costs.
    """
    if traced["busy_ms"] is not None:
        return max(0.0, 1 - (traced["busy_ms"] + wait_ms) / step_ms)
    return min(1.0, traced["calls"] * machine.operator_seconds() * 1e3 / step_ms)
