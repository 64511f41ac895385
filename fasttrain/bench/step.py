"""`fasttrain bench step`: the training step alone, on one constant batch, over a grid of settings."""

import itertools

from fasttrain.bench.results import environment, listed
from fasttrain.bench.rows import failed_row, label, make_row
from fasttrain.bench.worker import Failure, Worker
from fasttrain.config import COMPILE_MODES, PRECISIONS, RunConfig, boolean, choice, integer, optional
from fasttrain.registry import ARCHS, HEADS

CONTENDER = "fasttrain.bench.contenders:StepAlone"
# what is varied: flag -> (default, check)
GRID = {
    "arch": ("resnet18", choice(ARCHS.names)), "head": ("origin", choice(HEADS.names)),
    "batch-size": ("128", integer(1)), "precision": ("auto", choice(PRECISIONS)),
    "compile": ("auto", choice(COMPILE_MODES)), "channels-last": ("true", boolean),
}
FIXED = {"stem": "standard", "image-size": 64, "device": "auto"}


def add_arguments(command):
    """Adds the flags of `fasttrain bench step` to an argparse parser."""
    for name, (default, _) in GRID.items():
        short = ["-a"] if name == "arch" else []
        command.add_argument(*short, f"--{name}", default=default, metavar="A,B,...", help=f"default {default}")
    for name, default in FIXED.items():
        command.add_argument(f"--{name}", default=default, metavar=name.split("-")[-1].upper(),
                             help=f"default {default}")
    command.add_argument("--steps", metavar="N", help="steps in one measurement; default 100 on a GPU, 3 on a CPU")
    command.add_argument("--repeats", default=5, metavar="N", help="measurements of each setting; default 5")


def options(arguments):
    """The arguments of `bench_step` out of parsed flags; raises ConfigError for what cannot work."""
    given = {name: getattr(arguments, name.replace("-", "_")) for name in (*GRID, *FIXED)}
    axes = {name.replace("-", "_"): listed(f"--{name}", given[name], check)
            for name, (_, check) in GRID.items()}
    return {"configs": grid({name.replace("-", "_"): given[name] for name in FIXED}, axes),
            "steps": optional(integer(1))("--steps", arguments.steps),
            "repeats": integer(1)("--repeats", arguments.repeats)}


def grid(base, axes):
    """A RunConfig for each combination. base: values of a RunConfig; axes: lists of values by name.

    Raises ConfigError for a value that is wrong or that this machine cannot do.
    """
    from fasttrain import runtime

    configs = [RunConfig(**base, **dict(zip(axes, values, strict=True)), lr=0.1)
               for values in itertools.product(*axes.values())]
    for config in configs:
        runtime.resolve(config)
    return configs


def bench_step(configs, steps=None, repeats=5, report=print):
    """Measures the step of each RunConfig in a process of its own, one after the other: {"environment", "rows"}.

    Out of memory is a row as well. report: gets a line for each.
    """
    rows = []
    for config in configs:
        try:
            with Worker(CONTENDER, {"config": config.to_dict(), "steps": steps}) as worker:
                samples = [worker.measure() for _ in range(repeats)]
                row = make_row(config, config.variant, worker.facts, samples)
            result = f"{row['images_per_second']['median']:,.0f} images/s"
        except Failure as failure:
            row = failed_row(config, config.variant, failure.status)
            result = f"{failure.status}: {failure}"
        rows.append(row)
        report(f"{label(row)}: {result}")
    return {"environment": environment(steps=steps, repeats=repeats), "rows": rows}
