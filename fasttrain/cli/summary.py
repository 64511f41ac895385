"""`fasttrain summary`."""

import argparse

from fasttrain.cli.flags import add_json, add_key_flags, given_keys
from fasttrain.cli.output import write_json
from fasttrain.config import RunConfig


def add_flags(command: argparse.ArgumentParser) -> None:
    add_key_flags(command, ("arch", "head", "stem", "image_size"))
    command.add_argument("--classes", default=200, metavar="K", help="number of classes; default 200")
    add_json(command)


def run(arguments: argparse.Namespace) -> None:
    config = RunConfig.load(flags=given_keys(arguments))
    from fasttrain.perf.summary import summarize
    from fasttrain.perf.summary_table import render

    result = summarize(config.arch, config.head, config.classes, config.image_size, config.stem)
    write_json(arguments.json, result.to_json())
    render(result)
