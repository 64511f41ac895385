"""Where a training step's time goes, in three passes over the same loader and step.

A: the step as it trains, whole. B: the same step with marks between its phases; a CUDA graph, inside of which phases
cannot be told apart, gives way to its kernels one by one. C: a few steps under torch.profiler, for operators, counts
and a trace.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fasttrain.cores import cores
from fasttrain.perf import ceilings as machine
from fasttrain.perf.causes import look_for
from fasttrain.perf.cost import step_cost, weight_share
from fasttrain.perf.counts import compilations
from fasttrain.perf.disturbance import disturbance
from fasttrain.perf.passes import time_split, time_whole, waits
from fasttrain.perf.timeline import mark_milliseconds
from fasttrain.perf.trace import TRACED_STEPS, launch_share, trace
from fasttrain.perf.verdict import Shares, bound_by, sentence
from fasttrain.runtime import native_bf16
from fasttrain.train.compile import untouched
from fasttrain.train.step import Step

PHASES = ("loader_wait", "host_to_device", "forward", "backward", "optimizer", "other")
IN_SLICES = (*PHASES[:4], "communication", *PHASES[4:])  # of a step that is shared with other processes


@dataclass(frozen=True)
class Profile:
    """What a profile found.

    result: what `profile.json` holds. details: the rest, such as operators, costs, and what measuring itself took.
    """

    result: dict
    details: dict


def quiet(line: str) -> None:
    """Tells nobody."""


def profile(step: Step, loader, loader_name: str, steps: int, trace_path: Path | None = None,
            report: Callable[[str], None] = quiet) -> Profile:
    """Returns the Profile of a warmed-up Step on the batches of `loader`, over `steps` timed steps in each pass.

    Writes a gzipped Chrome trace to `trace_path` (open it in https://ui.perfetto.dev). `report` gets a line before each
    part. The weights stay as they were.
    """
    with untouched(step):
        compiled = compilations()
        report(f"pass A: {steps} steps as they train")
        pass_a = time_whole(step, loader, steps)
        report(f"pass B: {steps} steps in pieces")
        pass_b = time_split(step, loader, steps)
        compiled = compilations() - compiled
        report(f"pass C: {TRACED_STEPS} steps traced")
        traced = trace(step, loader, trace_path)
        cost = step_cost(step)  # here, because a lazy optimizer has its state now
        weights = weight_share(step, cost)
    report("ceilings: what this machine reaches in a copy and in a matrix product")
    whole, split = pass_a.per_step(), pass_b.per_step()
    wait_ms, step_ms, split_ms = whole["loader_wait"], sum(whole.values()), sum(split.values())
    runtime, batch_size = step.runtime, step.config.batch_size
    ceilings = machine.measure(runtime.device, runtime.dtype)
    flops, moved = cost.of_step(batch_size // step.processes.size)
    shares = Shares(data=wait_ms / step_ms, launch=launch_share(traced, wait_ms, step_ms),
                    bandwidth=moved / ceilings["copy_bytes_per_second"] / step_ms * 1e3,
                    mfu=flops / ceilings["matmul_flops"] / step_ms * 1e3)
    setting = {"loader": loader_name, "batch_size": batch_size, "compile": runtime.compile,
               "precision": runtime.precision, "device_type": runtime.device.type}
    spoiled = disturbance(step_ms, split_ms, pass_a.each_step(), pass_a.usage.delay_share, runtime.device.type)
    bound = "disturbed" if spoiled else bound_by(shares, runtime.device.type)
    verdict = (f"disturbed: {spoiled}; measure again while nothing else runs" if spoiled
               else sentence(bound, shares, ceilings, setting))
    mark_ms = mark_milliseconds(runtime.device) / steps
    measuring = {"whole": len(pass_a.timeline.marks) * mark_ms / step_ms,
                 "split": len(pass_b.timeline.marks) * mark_ms / split_ms}
    details = {**setting, "variant": step.config.variant, "image_size": step.size, "classes": step.classes,
               "threads": runtime.threads, "cores": cores(), "bf16_native": native_bf16(runtime.device),
               "notes": list(runtime.notes), "steps": steps, "step_flops": flops, "step_bytes": moved,
               "weight_share": weights, "batch_bytes": batch_size * 3 * step.config.image_size**2,
               "not_counted": cost.not_counted, "loader_wait_ms": wait_ms, "launch_share": shares.launch,
               "optimizer_share": split.get("optimizer", 0.0) / split_ms, **waits(pass_a, pass_b),
               "counts": traced["counts"], "compilations": compiled, "measuring_share": measuring,
               "timeline": pass_b.first_steps(), "operators": traced["operators"]}
    phases = IN_SLICES if "communication" in split else PHASES
    result = {"phases_ms": {phase: split.get(phase, 0.0) for phase in phases}, "step_ms": step_ms,
              "split_step_ms": split_ms, "images_per_second": batch_size / step_ms * 1e3,
              "mfu": shares.mfu, "bandwidth_share": shares.bandwidth, "ceilings": ceilings, "bound": bound,
              "verdict": verdict, "causes": [cause._asdict() for cause in look_for(details)]}
    return Profile(result, details)
