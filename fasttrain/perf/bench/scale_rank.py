"""One process of `bench scale`, which is `python -m fasttrain.perf.bench.scale_rank`; see `fasttrain.workers`."""

import functools
import os
import time

import torch

from fasttrain.config import RunConfig
from fasttrain.errors import FasttrainError
from fasttrain.perf.passes import time_split, time_whole
from fasttrain.processes import Processes, joined
from fasttrain.runtime import Runtime
from fasttrain.train.build import build
from fasttrain.train.compile import untouched
from fasttrain.train.trainer import Trainer
from fasttrain.workers import connect

EXCHANGES = 10


def main() -> None:
    """Measures the config that the benchmark sends, together with the other processes; the first one tells."""
    messages, tell = connect()
    request = next(messages)
    config = RunConfig(**request["config"])
    try:
        with joined(config) as processes:
            trainer = processes.in_turn(functools.partial(build, config, None, processes)).settled().trainer()
            trainer.warm_up()
            answer = measure(trainer, request["steps"])
    except FasttrainError as error:
        answer = {"error": str(error) or "another process ended"}
    tell(answer)
    os._exit(0)  # see `launch.ended`


def measure(trainer: Trainer, steps: int) -> dict:
    """Returns times in ms: of a step, of the same in pieces, of its communication, and of exchanges by themselves."""
    step, runtime, bucket = trainer.step, trainer.runtime, getattr(trainer.step, "bucket", None)
    with untouched(step):
        whole = time_whole(step, trainer.train_loader, steps).per_step()
        split = time_split(step, trainer.train_loader, steps).per_step()
    weights = sum(parameter.nbytes for parameter in step.model.parameters())
    size = bucket.flat.nbytes if bucket else weights
    return {"step_ms": sum(whole.values()), "split_step_ms": sum(split.values()),
            "communication_ms": split.get("communication", 0.0), "bucket_bytes": size,
            "exchange_ms": exchange_ms(step.processes, runtime, size),
            "latency_ms": exchange_ms(step.processes, runtime, 4),
            "threads": runtime.threads, "device": runtime.device.type, "precision": runtime.precision}


def exchange_ms(processes: Processes, runtime: Runtime, size: int) -> float:
    """Returns how long a sum of `size` bytes over all processes takes; 0 for one."""
    if processes.size == 1:
        return 0.0
    tensor = torch.zeros(size // 4, device=runtime.device)
    for number in range(EXCHANGES + 1):
        if number == 1:
            runtime.synchronize()
            started = time.perf_counter()
        processes.sum(tensor)
    runtime.synchronize()
    return 1e3 * (time.perf_counter() - started) / EXCHANGES


if __name__ == "__main__":
    main()
