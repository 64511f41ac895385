"""`fasttrain bench scale`: the step over processes, at a fixed batch and at a fixed batch for each process."""

import argparse
import contextlib
import socket
from collections.abc import Callable

from fasttrain.checks import integer
from fasttrain.config import RunConfig
from fasttrain.cores import cores
from fasttrain.errors import ConfigError
from fasttrain.perf.bench.results import environment, listed, spread
from fasttrain.shares import refuse_shares
from fasttrain.workers import Worker, how_it_ended

FIXED, GROWING = "fixed batch", "fixed batch a process"
OURS = {"arch": "resnet18", "head": "origin", "batch-size": "128", "precision": "auto", "compile": "auto",
        "image-size": "64", "device": "auto"}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the flags of `fasttrain bench scale`."""
    command.add_argument("--nproc", default="1,2", metavar="N,M,...", help="numbers of processes; default 1,2")
    for name, default in OURS.items():
        command.add_argument(f"--{name}", default=default, metavar=name.split("-")[-1].upper(),
                             help=f"default {default}")
    command.add_argument("--steps", default=10, metavar="N", help="steps in one measurement; default 10")
    command.add_argument("--repeats", default=3, metavar="N", help="measurements of each number, in turns; default 3")


def options(arguments: argparse.Namespace) -> dict:
    """Returns the arguments of `bench_scale` by parsed flags; raises ConfigError for what cannot work."""
    counts = listed("--nproc", arguments.nproc, integer(1))
    values = {name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name in OURS}
    config = RunConfig(**values, lr=0.1, loader="constant")
    for count in counts:
        refuse_shares(config, count)
    return {"config": config, "counts": sorted({1, *counts}), "steps": integer(1)("--steps", arguments.steps),
            "repeats": integer(1)("--repeats", arguments.repeats)}


def bench_scale(config: RunConfig, counts: list[int], steps: int, repeats: int,
                report: Callable[[str], None] = print) -> dict:
    """Measures steps of `config` by each number of processes, in turns; returns {"environment", "rows"}.

    Efficiency is images/s by those of one process on the same hardware: on GPUs one by N takes N times as much of it,
    on a CPU all share its cores. report: gets a line for each row.
    """
    settings = environment(steps=steps, repeats=repeats)
    places = {(kind, count): config.batch_size * (count if kind == GROWING else 1)
              for kind in (FIXED, GROWING) for count in counts if kind == FIXED or count > 1}
    samples = {place: [] for place in places}
    for _ in range(repeats):
        for (kind, count), batch in places.items():
            samples[kind, count].append(measure(config.replace(batch_size=batch), count, steps))
    samples |= {(GROWING, 1): samples[FIXED, 1]}
    rows = [make_row(kind, count, config.batch_size * (count if kind == GROWING else 1), samples)
            for kind in (FIXED, GROWING) for count in counts]
    for row in rows:
        report(f"{row['kind']}, {row['processes']} processes: {row['images_per_second']['median']:,.1f} images/s, "
               f"efficiency {row['efficiency']['median']:.0%}")
    return {"environment": settings, "rows": rows}


def measure(config: RunConfig, count: int, steps: int) -> dict:
    """Returns what `scale_rank` measures in `count` processes; ConfigError where it cannot."""
    images = -(-config.batch_size // 10)
    config = config.replace(data=f"synthetic:classes=10,train={max(50, images)},val=1")
    shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(),
              "OMP_NUM_THREADS": max(1, cores() // count)}
    with contextlib.ExitStack() as stack:
        ranks = [stack.enter_context(Worker("fasttrain.perf.bench.scale_rank", {
            name: str(value) for name, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}))
            for rank in range(count)]
        for rank in ranks:
            rank.send({"config": config.to_dict(), "steps": steps})
        answer = ranks[0].receive() or {"error": how_it_ended(ranks[0].process.wait())}
    if "error" in answer:
        raise ConfigError(f"{count} processes, batch {config.batch_size}: {answer['error']}")
    return answer


def free_port() -> int:
    """Returns a port of this host where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_row(kind: str, count: int, batch: int, samples: dict) -> dict:
    """Returns the row of one number of processes. samples: measurements by (kind, processes), in rounds."""
    own, base = samples[kind, count], samples[kind, 1]
    speeds = [1e3 * batch / sample["step_ms"] for sample in own]
    share = count if own[0]["device"] == "cuda" else 1
    alone = batch // count if kind == GROWING else batch
    ratios = [speed / share / (1e3 * alone / one["step_ms"]) for speed, one in zip(speeds, base, strict=True)]
    return {"kind": kind, "processes": count, "batch_size": batch, "threads": own[0]["threads"],
            "device": own[0]["device"], "precision": own[0]["precision"], "images_per_second": spread(speeds),
            "efficiency": spread(ratios), "step_ms": spread(sample["step_ms"] for sample in own),
            "communication_share": spread(sample["communication_ms"] / sample["split_step_ms"] for sample in own),
            "bucket_bytes": own[0]["bucket_bytes"],
            "exchange_ms": spread(sample["exchange_ms"] for sample in own),
            "latency_ms": spread(sample["latency_ms"] for sample in own)}
