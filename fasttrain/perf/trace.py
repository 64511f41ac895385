"""A few training steps under torch.profiler: operators, counts, and a trace."""

import os
from pathlib import Path

import torch

from fasttrain.perf import ceilings as machine
from fasttrain.perf.counts import counts, is_call
from fasttrain.perf.passes import endless, train
from fasttrain.train.step import Step

TRACED_STEPS = 3
TOP_OPERATORS = 60


def trace(step: Step, loader, path: Path | None) -> dict:
    """Traces pass C; writes the trace to `path`.

    Returns "operators": the costliest ones; "calls": operators started a step; "counts": see `counts`; "busy_ms": ms a
    step in which a GPU works, None on a CPU.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports its start and stop on stderr
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    on_gpu = step.runtime.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    batches = endless(loader)
    # torch 2.11 warns without acc_events
    with torch_profile(activities=activities, record_shapes=True, acc_events=True) as profiler:
        for number in range(TRACED_STEPS):
            batch = next(batches)
            train(step, batch, number)
        step.runtime.synchronize()
    if path is not None:
        profiler.export_chrome_trace(str(path))
    events = profiler.events()
    found = counts(events, step, len(batch.labels), TRACED_STEPS)
    return {"calls": sum(map(is_call, events)) / TRACED_STEPS, "counts": found,
            **summarize_trace(profiler.key_averages(), on_gpu)}


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
