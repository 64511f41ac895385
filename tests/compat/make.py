"""Makes an old run folder for `test_old_runs.py`, with the code of the commit that it stands for.

    git worktree add --detach /tmp/old COMMIT
    PYTHONPATH=/tmp/old OMP_NUM_THREADS=1 python tests/compat/make.py NAME        b0d9fea or 8e527fc

The run trains for three epochs on synthetic images; SIGTERM stops it in the second. That commit's `Checkpoints.save`
writes its checkpoints, but each tensor of weights or momentum is filled with its mean before: 90 MB of equal numbers
compress to almost nothing. The archive tests/compat/NAME.tar.xz holds the stopped run, `runs/<variant>/1/`, and
`expected.jsonl`: the rows that the same commit wrote when it resumed a copy of it.
"""

# ruff: noqa: I001 - ruff sorts by the layout of today, in which `observe` is no part of the package
import os
import shutil
import signal
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
from fasttrain import api
from fasttrain.config import RunConfig
from fasttrain.errors import Interrupted
from fasttrain.observe.events import Sink
from fasttrain.observe.files import FilesSink, LogSink
from fasttrain.train.checkpoint import Checkpoints

COMMON = {"epochs": 3, "batch_size": 4, "limit_val": 10, "seed": 7,
          "device": "cpu", "precision": "fp32", "compile": "off"}
CONFIGS = {
    "b0d9fea": {"head": "maxpool", "recipe": "seed", "data": "synthetic:classes=3,train=8,val=5,size=32",
                "image_size": 32, "lr": 0.001},
    "8e527fc": {"head": "origin", "recipe": "fast", "data": "synthetic:classes=3,train=8,val=5",
                "sizes": "32x1,48x1,64x1", "tta": True},
}


class StopInSecondEpoch(Sink):
    """Sends this process a SIGTERM after the third step of the second epoch."""

    def progress(self, progress):
        if (progress.phase, progress.epoch, progress.step) == ("train", 2, 3):
            os.kill(os.getpid(), signal.SIGTERM)


def fill(value):
    """Returns `value` with each floating-point tensor in it filled with its mean, unless it is a scalar."""
    if isinstance(value, dict):
        return type(value)((key, fill(inner)) for key, inner in value.items())
    if torch.is_tensor(value) and value.is_floating_point() and value.numel() > 1:
        return torch.full_like(value, value.mean())
    return value


def save_filled(checkpoints, name, state, **facts):
    filled = {key: fill(state[key]) for key in ("model", "optimizer")}
    save(checkpoints, name, {**state, **filled}, **facts)


name = sys.argv[1]
archive = Path(__file__).with_name(f"{name}.tar.xz").absolute()
save, Checkpoints.save = Checkpoints.save, save_filled
api.default_sinks = lambda folder, console: [LogSink(folder), FilesSink(folder), StopInSecondEpoch()]
with tempfile.TemporaryDirectory() as scratch:
    os.chdir(scratch)
    os.environ["FASTTRAIN_CACHE"] = str(Path("cache").absolute())
    config = RunConfig(**COMMON, **CONFIGS[name])
    run = Path("runs", config.variant, "1")
    try:
        api.run(config)
    except Interrupted as stopped:
        print(stopped)
    shutil.copytree(run, "copy")
    api.run(config.replace(resume="copy"))
    shutil.copy("copy/metrics.jsonl", "expected.jsonl")
    (run / ".lock").unlink()
    with tarfile.open(archive, "w:xz") as file:
        file.add("runs")
        file.add("expected.jsonl")
print(f"{archive}: {archive.stat().st_size:,} bytes")
