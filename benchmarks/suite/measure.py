"""The suite's own measurements: `python -m benchmarks.suite.measure KIND FILE SETTINGS` writes what it found to FILE.

What fasttrain has a command for (loaders, profile, peers, ablation) is measured by that command instead.

Each kind is a function whose first argument, `keep`, writes what was found so far.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from benchmarks.suite.results import write_json
from benchmarks.suite.stage import ROOT
from fasttrain import environment
from fasttrain import runtime as runtimes
from fasttrain.config import RunConfig
from fasttrain.data import loaders
from fasttrain.data.pack import open_pack
from fasttrain.data.sources import open_source
from fasttrain.perf import ceilings
from fasttrain.perf.bench.contenders import EndToEnd, Strict
from fasttrain.perf.bench.results import spread
from fasttrain.perf.bench.rows import training_row
from fasttrain.perf.bench.step import CONTENDER
from fasttrain.registry import LOADERS
from fasttrain.runs import lifecycle
from fasttrain.train.build import build
from fasttrain.train.compile import GPU_KERNELS
from fasttrain.train.events import EventLog

GPU_FACTS = "name,driver_version,pstate,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu"


def machine(keep, device):
    """Keeps versions, what can be imported, and the ceilings that all else is held against."""
    chosen, _ = runtimes.choose_device(device)
    found = {**environment.versions(), "nvidia_smi": nvidia_smi(),
             "loaders": {name: loaders.missing(name) or "ok" for name in LOADERS.names()}}
    keep(found)
    dtypes = [torch.float32] + [torch.bfloat16] * runtimes.native_bf16(chosen)
    found["copy_bytes_per_second"] = ceilings.copy_bytes_per_second(chosen)
    found["matmul_flops"] = {str(dtype).removeprefix("torch."): ceilings.matmul_flops(chosen, dtype)
                             for dtype in dtypes}
    keep(found)


def nvidia_smi() -> dict | str:
    """Returns what nvidia-smi says of clocks, power and temperature, or one line why it says nothing."""
    try:
        done = subprocess.run(["nvidia-smi", f"--query-gpu={GPU_FACTS}", "--format=csv,noheader"], text=True,
                              capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return " ".join(str(error).split())
    return dict(zip(GPU_FACTS.split(","), done.stdout.splitlines()[0].split(", "), strict=False))


def step(keep, config, contender=CONTENDER, repeats=5, steps=None, inductor=None, searched=None):
    """Measures a row of `bench step`.

    inductor: options of torch._inductor.config by name, instead of fasttrain's own. searched: how many algorithms cuDNN
    tries for each convolution, 0 for all; torch lets it try 10.
    """
    GPU_KERNELS.update(inductor or {})
    if searched is not None:
        torch.backends.cudnn.benchmark_limit = searched
    module, name = contender.split(":")
    one, samples = getattr(importlib.import_module(module), name)(config, steps), []
    for _ in range(repeats):
        samples.append(one.measure())
        asked = RunConfig(**config)
        keep({**training_row(asked, asked.variant, one.facts, samples), "contender": contender})


def epochs(keep, config, rounds=10):
    """Measures epochs of training with the loader against as many steps on one of its batches, in turns."""
    contender = EndToEnd(config)
    trainer, fed, alone = contender.trainer, [], []
    trainer.train_loader.set_epoch(0)
    batch = next(iter(trainer.train_loader))
    for _ in range(1 + rounds):
        sample = contender.measure()
        fed.append(sample["images"] / sample["train_seconds"])
        alone.append(sample["images"] / seconds_of(trainer.step, batch, sample["steps"]))
        if len(fed) > 1:  # the first round warms up
            share = spread(a / b for a, b in zip(fed[1:], alone[1:], strict=True))
            keep({**contender.facts, "fed": spread(fed[1:]), "alone": spread(alone[1:]), "share": share})


def seconds_of(train_step, batch, steps: int) -> float:
    """Returns the seconds that `steps` steps on one batch take, at rate zero."""
    train_step.runtime.synchronize()
    started = time.monotonic()
    for index in range(steps):
        train_step.train(batch, 0.0, index, index)
    train_step.runtime.synchronize()
    return time.monotonic() - started


def first_step(keep, config, cold=False):
    """Measures from the start of this process to the end of its first training step. cold: without compiled kernels."""
    with tempfile.TemporaryDirectory() as empty:
        if cold:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        imported = process_seconds()
        trainer = build(RunConfig(**config)).trainer(EventLog([Strict()]))
        trainer.warm_up()
        trainer.step.train(next(iter(trainer.train_loader)), 0.0, 0, 0)
        trainer.runtime.synchronize()
        keep({"total_seconds": process_seconds(), "import_seconds": imported,
              "compile_seconds": trainer.step.compile_seconds})


def process_seconds() -> float:
    """Returns the age of this process (Linux)."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return float(Path("/proc/uptime").read_text().split()[0]) - started


def pack(keep, data, image_size):
    """Packs the data, or finds it packed, and keeps how long that took."""
    started = time.monotonic()
    found = open_pack(open_source(data), image_size)
    keep({"open_seconds": time.monotonic() - started, "bytes": sum(f["size"] for f in found.manifest["files"].values()),
          **{key: found.manifest[key] for key in ("decoder", "fingerprint")}})


def tests(keep, place):
    """Runs the tests marked gpu below `place`; keeps the results after each."""
    found = {"passed": 0, "skipped": 0, "failed": 0, "failures": {}, "skips": {}}

    class Keeper:
        def pytest_runtest_logreport(self, report):
            if report.when == "call" or report.outcome != "passed":
                found[report.outcome] += 1
            if report.failed:
                found["failures"][report.nodeid] = str(report.longrepr).strip().splitlines()[-1]
            if report.skipped:
                found["skips"][report.nodeid] = str(report.longrepr[-1])
            keep(found)

    arguments = ["-m", "gpu", "-p", "no:cacheprovider", "--rootdir", str(ROOT), str(ROOT / place)]
    sys.exit(pytest.main(arguments, [Keeper()]))


def training(keep, config):
    """Trains a whole run, or continues one that was interrupted."""
    run = lifecycle.run(RunConfig(**config))
    keep({"config": config, "final": run.rows[-1], "best_val_top1": max(row["val_top1"] for row in run.rows),
          "train_seconds": sum(row["seconds"] for row in run.rows)})


KINDS = {"machine": machine, "step": step, "epochs": epochs, "first-step": first_step, "pack": pack, "tests": tests,
         "training": training}


def main(kind: str, path: str, settings: str) -> None:
    """Runs one kind. Lack of memory is a result; any other failure is an exit code with its traceback in the log."""
    try:
        KINDS[kind](lambda found: write_json(path, found), **json.loads(settings))
    except Exception as error:
        if not runtimes.out_of_memory(error):
            raise
        write_json(path, {"status": "oom"})


if __name__ == "__main__":
    main(*sys.argv[1:])
