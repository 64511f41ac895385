"""`fasttrain bench`: each benchmark is a module with `add_arguments`, `options` and a function `bench_<name>`."""

import argparse
import importlib
import sys

from fasttrain.cli.flags import add_config_flags, add_json, read_config
from fasttrain.cli.output import check_outputs, print_rich, write_json
from fasttrain.cli.parser import add_actions, add_command

# name: (the module that shows what it found, help line)
BENCHES = {
    "loader": ("loader_chart", "measure loaders: the same batches, delivered"),
    "step": ("training_chart", "measure the training step on a constant batch, over a grid of settings"),
    "scale": ("scale_chart", "measure the step over numbers of processes: images/s, efficiency, communication"),
    "e2e": ("training_chart", "measure whole epochs with loader and evaluation, beside peers"),
}


def add_flags(command: argparse.ArgumentParser) -> None:
    actions = add_actions(command)
    for name, (_, text) in BENCHES.items():
        action = add_command(actions, name, text)
        load(name).add_arguments(action)
        add_json(action)
        action.add_argument("--plot", metavar="FILE", help="draw the result into FILE, a PNG")
        if name == "e2e":
            add_config_flags(action)


def run(arguments: argparse.Namespace) -> None:
    check_outputs(arguments.json, arguments.plot)
    name = arguments.action
    module = load(name)
    options = module.options(arguments, *([read_config(arguments)] if name == "e2e" else []))
    result = getattr(module, f"bench_{name}")(**options, report=lambda text: print(text, file=sys.stderr, flush=True))
    chart = load(BENCHES[name][0])
    write_json(arguments.json, result)
    if arguments.plot:
        chart.draw(result, arguments.plot)
    print_rich(chart.render(result))


def load(name: str):
    """Imports and returns a module of `fasttrain.perf.bench`."""
    return importlib.import_module(f"fasttrain.perf.bench.{name}")
