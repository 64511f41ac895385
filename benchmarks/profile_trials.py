"""Does the profile name what makes a step slow? Slows steps down in known ways, and asks it.

Each cause is put into both backbones in turn, several times, between profiles of undisturbed steps. The limits are
those of `fasttrain/perf/causes.py`, fixed before the first trial. Writes a row for each trial, and prints a table.
Steps have one core and one thread, since two threads that wait for each other take very long on a machine that others
use too; in the trial of idle cores they have two cores.

    python benchmarks/profile_trials.py --repeats 5 --json trials.json
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from fasttrain.config import RunConfig
from fasttrain.perf import passes, trace
from fasttrain.perf.profile import profile
from fasttrain.runtime import native_bf16
from fasttrain.train.build import build
from fasttrain.train.step import Step
from fasttrain.train.trainer import Trainer

BATCHES = {"resnet18": 24, "resnet50": 12}  # the smallest that are not small: see WEIGHT_SHARE
DELAY = 0.5  # of a step, that slow loaders and disks take
PIECES = 16  # in which a slow disk delivers a batch
UNDISTURBED = "none"
ALLOWED = sorted(os.sched_getaffinity(0))


class Slow:
    """A loader that is slower: `work` gets the seconds that it has to take, a share of what the step before took."""

    def __init__(self, loader, work: Callable[[float], None]):
        self.loader, self.work = loader, work

    def set_epoch(self, epoch: int) -> None:
        self.loader.set_epoch(epoch)

    def __iter__(self) -> Iterator:
        step = 0.0
        for batch in self.loader:
            self.work(DELAY * step)
            started = time.perf_counter()
            yield batch
            step = time.perf_counter() - started


def compute(seconds: float) -> None:
    """Keeps a core busy for that long, as decoding does."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        sum(range(1000))


@contextlib.contextmanager
def slow_loader(trainer: Trainer) -> Iterator:
    yield Slow(trainer.train_loader, compute)


@contextlib.contextmanager
def slow_disk(trainer: Trainer) -> Iterator:
    size = trainer.config.batch_size * 3 * trainer.config.image_size**2
    with tempfile.TemporaryFile() as file:
        file.write(bytes(size))
        file.flush()

        def read(seconds: float) -> None:
            for piece in range(PIECES):
                time.sleep(seconds / PIECES)
                os.pread(file.fileno(), size // PIECES, piece * size // PIECES)

        yield Slow(trainer.train_loader, read)


@contextlib.contextmanager
def hooked(trainer: Trainer, modules: list, hook: Callable) -> Iterator:
    """Calls a forward hook on modules while the block runs."""
    handles = [module.register_forward_hook(hook) for module in modules]
    yield trainer.train_loader
    for handle in handles:
        handle.remove()


def host_read(trainer: Trainer):
    def read(module, inputs, output) -> None:
        float(output.detach().sum())

    return hooked(trainer, [trainer.step.model], read)


def activation_copies(trainer: Trainer):
    kept = {}

    def keep(module, inputs, output) -> None:
        kept[module] = output.detach().clone()

    return hooked(trainer, [m for m in trainer.step.model.modules() if isinstance(m, torch.nn.Conv2d)], keep)


@contextlib.contextmanager
def recompile(trainer: Trainer) -> Iterator:
    """Compiles a small graph anew in each step, for a Python value that never comes again."""
    torch._dynamo.reset()  # what an earlier trial compiled would be found again
    torch._dynamo.config.recompile_limit = 10**6
    torch._dynamo.config.accumulated_recompile_limit = 10**6
    seen = iter(range(10**9))

    @torch.compile(dynamic=False)
    def scaled(logits, number):
        return logits * (1 + number * 1e-9)

    def scale(module, inputs, output):
        return scaled(output, float(next(seen)))

    with hooked(trainer, [trainer.step.model], scale) as loader:
        yield loader


@contextlib.contextmanager
def tensor_by_tensor(trainer: Trainer) -> Iterator:
    step: Step = trainer.step
    fast = step.optimizer
    step.optimizer = torch.optim.SGD(step.model.parameters(), lr=0.0, momentum=0.9, foreach=False, fused=False)
    yield trainer.train_loader
    step.optimizer = fast


@contextlib.contextmanager
def as_it_is(trainer: Trainer) -> Iterator:
    yield trainer.train_loader


# cause, as `fasttrain/perf/causes.py` names it: (settings, what is done to a trainer)
TRIALS = {
    "loader": ({}, slow_loader),
    "disk": ({}, slow_disk),
    "host read": ({}, host_read),
    "precision": ({"precision": "fp32"}, as_it_is),
    "layout": ({"channels_last": False}, as_it_is),
    "recompile": ({}, recompile),
    "small batch": ({"batch_size": 8}, as_it_is),
    "threads": ({}, as_it_is),
    "optimizer": ({}, tensor_by_tensor),
    "activation copies": ({}, activation_copies),
    UNDISTURBED: ({}, as_it_is),
}


def trial(arch: str, cause: str, steps: int) -> dict:
    """Returns the row of one trial: what the profile named, the first one first."""
    settings, inject = TRIALS[cause]
    os.sched_setaffinity(0, ALLOWED[:2 if cause == "threads" else 1])
    config = {"arch": arch, "head": "origin", "data": "synthetic:classes=10,train=50,val=10", "compile": "off",
              "batch_size": BATCHES[arch], "threads": 1, **settings}
    if cause == "precision" and not native_bf16(torch.device("cpu")):
        config["precision"] = "bf16"  # emulated
    trainer = build(RunConfig(**config)).settled().trainer()
    trainer.warm_up()
    with inject(trainer) as loader:
        found = profile(trainer.step, loader, trainer.loader_name, steps)
    trainer.close()
    os.sched_setaffinity(0, ALLOWED)
    named = [row["name"] for row in found.result["causes"] if row["found"]]
    expected = [] if cause == UNDISTURBED else [cause]
    return {"arch": arch, "injected": cause, "named": named, "right": named[:1] == expected,
            "disturbed": found.result["bound"] == "disturbed", "step_ms": found.result["step_ms"],
            **{row["name"]: row["value"] for row in found.result["causes"]}}


def table(rows: list[dict]) -> str:
    """Returns the trials as a Markdown table: right ones of all, and what else was named first."""
    lines = ["| injected | resnet18 | resnet50 | named first otherwise |", "|---|---|---|---|"]
    for cause in TRIALS:
        own = [row for row in rows if row["injected"] == cause]
        cells = [f"{sum(row['right'] for row in part)} of {len(part)}"
                 for part in ([row for row in own if row["arch"] == arch] for arch in BATCHES)]
        others = sorted({", ".join(row["named"][:1]) or "none" for row in own if not row["right"]})
        lines.append(f"| {cause} | {cells[0]} | {cells[1]} | {'; '.join(others)} |")
    disturbed = sum(row["disturbed"] for row in rows)
    lines.append(f"\n{sum(row['right'] for row in rows)} of {len(rows)} right; {disturbed} said that other work "
                 "disturbed their times.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="timed steps in each pass; default 2")
    parser.add_argument("--causes", default=",".join(TRIALS), help="default: all of them")
    parser.add_argument("--json", type=Path, default=Path("profile-trials.json"))
    arguments = parser.parse_args()
    passes.UNTIMED_STEPS = trace.TRACED_STEPS = 1  # counts need no more
    rows = []
    for repeat in range(arguments.repeats):
        for arch in BATCHES:
            for cause in [UNDISTURBED, *arguments.causes.split(",")]:  # undisturbed twice as often as each cause
                row = trial(arch, cause, arguments.steps) | {"repeat": repeat}
                rows.append(row)
                print(f"{repeat} {arch} {cause}: {', '.join(row['named']) or 'none'}", file=sys.stderr, flush=True)
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
