"""`fasttrain run`."""

import argparse

from fasttrain.checks import choice, integer
from fasttrain.cli.flags import add_config_flags, read_config
from fasttrain.launch import launch, wanted
from fasttrain.registry import TRACKERS


def add_flags(command: argparse.ArgumentParser) -> None:
    add_config_flags(command)
    command.add_argument("--dry-run", action="store_true",
                         help="build everything, do one train step, one eval step, one save and load, and report")
    command.add_argument("--nproc", metavar="N", help="processes on this machine that share each batch, one a GPU")
    command.add_argument("--max-restarts", default=0, metavar="K", help="with --nproc: go on after a crash, K times")
    command.add_argument("--tracker", default="", metavar="A,B",
                         help=f"send the run to experiment trackers: {', '.join(TRACKERS.names())}")
    command.add_argument("--print-config", action="store_true", help="print the configuration as YAML and stop")


def run(arguments: argparse.Namespace) -> int | None:
    config = read_config(arguments)
    count, restarts = wanted(arguments.nproc, config), integer(0)("--max-restarts", arguments.max_restarts)
    names = [choice(TRACKERS.names)("--tracker", name) for name in arguments.tracker.split(",") if name]
    if arguments.print_config:
        import yaml

        print(yaml.safe_dump(config.to_dict(), sort_keys=False), end="")
        return
    if count > 1:
        return launch(config, count, restarts, arguments.words)
    from fasttrain.runs import lifecycle

    if arguments.dry_run:
        print("\n".join(lifecycle.dry_run(config)))
    else:
        from fasttrain.runs.trackers import trackers

        lifecycle.run(config, callbacks=trackers(names))
