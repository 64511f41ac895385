"""`fasttrain env`."""

import argparse
import json

from fasttrain.cli.output import print_rich


def add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> None:
    from fasttrain import environment

    report = environment.report()
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        print_rich(environment.render(report))
