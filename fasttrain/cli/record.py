"""`fasttrain record`."""

import argparse
import sys
from pathlib import Path

from fasttrain.checks import integer
from fasttrain.cli.flags import add_config_flags, given_keys
from fasttrain.config import RunConfig
from fasttrain.errors import FasttrainError
from fasttrain.study.record.categories import CATEGORIES, category

# the keys that a record decides itself
OWN = ("seed", "resume", "classes", "limit_train", "limit_val", "val_fraction", "out")


def add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("category", metavar="CATEGORY", help=", ".join(CATEGORIES))
    command.add_argument("--name", default="challenger", metavar="NAME", help="of the challenger, part of its folder")
    command.add_argument("--seeds", metavar="N", help="seeds 0 to N-1; default the fewest that a record needs")
    command.add_argument("--records", default="benchmarks/records", metavar="DIR", help="default benchmarks/records")
    command.add_argument("--out", default="runs/record", metavar="DIR", dest="folder",
                         help="where the trials go; default runs/record. The same command continues after a stop")
    command.add_argument("--replay", action="store_true",
                         help="repeat a seed of the record that stands instead, and compare its rows")
    add_config_flags(command, without=OWN)


def run(arguments: argparse.Namespace) -> None:
    chosen, flags = category(arguments.category), given_keys(arguments)
    seeds = chosen.seeds if arguments.seeds is None else integer(1)("--seeds", arguments.seeds)
    out = str(Path(arguments.folder) / chosen.name)
    config = RunConfig.load(arguments.config, {"recipe": "sprint", **flags, "out": out}, arguments.sets)
    from fasttrain.study.record import race

    def say(text: str) -> None:
        print(text, flush=True)

    if arguments.replay:
        held = race.replay(chosen, Path(arguments.records), {"data": config.data, "out": out}, say)
    else:
        held = race.challenge(chosen, config, arguments.name, Path(arguments.records), seeds, say)
    if not held:
        sys.exit(FasttrainError.exit_code)
