"""`fasttrain bench step`: the training step alone, on one constant batch, over a grid of settings."""

import argparse
import contextlib
import importlib.util
import itertools
from collections.abc import Callable

from fasttrain.checks import boolean, choice, integer, optional
from fasttrain.config import COMPILE_MODES, PRECISIONS, RunConfig
from fasttrain.perf.bench.peers import load_peers
from fasttrain.perf.bench.race import Contender, take_turns
from fasttrain.perf.bench.results import environment, listed
from fasttrain.perf.bench.rows import labels, make_row, share_ceilings
from fasttrain.registry import ARCHS, HEADS, split_variant, variants

CONTENDER = "fasttrain.perf.bench.contenders:StepAlone"
# what is varied: flag -> (default, check)
GRID = {
    "arch": ("resnet18", choice(lambda: [*ARCHS.names(), *variants()])), "head": ("origin", choice(HEADS.names)),
    "batch-size": ("128", integer(1)), "precision": ("auto", choice(PRECISIONS)),
    "compile": ("auto", choice(COMPILE_MODES)), "channels-last": ("true", boolean),
}
FIXED = {"stem": "standard", "image-size": 64, "device": "auto", "threads": None}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the flags of `fasttrain bench step`."""
    for name, (default, _) in GRID.items():
        short = ["-a"] if name == "arch" else []
        command.add_argument(*short, f"--{name}", default=default, metavar="A,B,...", help=f"default {default}")
    for name, default in FIXED.items():
        command.add_argument(f"--{name}", default=default, metavar=name.split("-")[-1].upper(),
                             help=f"default {default or 'one for each core; auto tries some'}")
    command.add_argument("--steps", metavar="N", help="steps in one measurement; default 100 on a GPU, 3 on a CPU")
    command.add_argument("--peers", action="store_true", help="with torchvision's and timm's networks too")
    command.add_argument("--repeats", default=5, metavar="N", help="measurements of each setting; default 5")


def options(arguments: argparse.Namespace) -> dict:
    """Returns the arguments of `bench_step` by parsed flags; raises ConfigError for what cannot work."""
    given = {name: getattr(arguments, name.replace("-", "_")) for name in (*GRID, *FIXED)}
    axes = {name.replace("-", "_"): listed(f"--{name}", given[name], check)
            for name, (_, check) in GRID.items()}
    return {"configs": grid({name.replace("-", "_"): given[name] for name in FIXED}, axes),
            "steps": optional(integer(1))("--steps", arguments.steps),
            "repeats": integer(1)("--repeats", arguments.repeats), "peers": arguments.peers}


def grid(base: dict, axes: dict[str, list]) -> list[RunConfig]:
    """Returns a RunConfig for each combination, without `auto`. base: values of a RunConfig; axes: values by name.

    Raises ConfigError for a value that is wrong or that this machine cannot do.
    """
    from fasttrain import runtime as runtimes

    combined = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    configs = dict.fromkeys(RunConfig(**base, **{**values, **split_variant({"arch": values.get("arch", "")})},
                                      lr=0.1, loader="constant") for values in combined)
    chosen = [runtimes.resolve(config) for config in configs]
    return [config.replace(precision=runtime.precision, compile=runtime.compile)
            for config, runtime in zip(configs, chosen, strict=True)]


def bench_step(configs: list[RunConfig], steps: int | None = None, repeats: int = 5, peers: bool = False,
               report: Callable[[str], None] = print) -> dict:
    """Measures the step of each RunConfig, one process after the other; returns {"environment", "rows"}.

    What runs out of memory has a row as well. peers: also races the networks of benchmarks/peers that are installed.
    report: gets a line for each row.
    """
    sources = {"fasttrain": CONTENDER, **(networks(report) if peers else {})}
    settings, rows, contenders = environment(steps=steps, repeats=repeats), [], []
    for config, (library, source) in itertools.product(configs, sources.items()):
        name = config.variant if library == "fasttrain" else f"{library} {config.arch}"
        contender = Contender(name, source, {"config": config.to_dict(), "steps": steps})
        with contextlib.ExitStack() as stack:
            contender.start(stack)
            list(take_turns([contender], repeats))
        rows.append(make_row(contender, contender.samples))
        contenders.append(contender)
        result = f"{contender.failure.status}: {contender.failure}" if contender.failure else (
            f"{rows[-1]['images_per_second']['median']:,.1f} images/s")
        report(f"{labels(rows[-1:])[0]}: {result}")
    share_ceilings(rows, contenders)
    return {"environment": settings, "rows": rows}


def networks(report: Callable[[str], None]) -> dict[str, str]:
    """Returns the contenders that run other libraries' networks, by library; reports which are not installed."""
    known = load_peers().NETWORKS
    for library in known:
        if importlib.util.find_spec(library) is None:
            report(f"{library}: left out, it is not installed")
    return {library: contender for library, contender in known.items() if importlib.util.find_spec(library)}
