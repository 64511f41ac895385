"""`fasttrain profile`."""

import argparse

from fasttrain.checks import integer
from fasttrain.cli.flags import add_config_flags, read_config
from fasttrain.cli.output import print_rich


def add_flags(command: argparse.ArgumentParser) -> None:
    add_config_flags(command, without=("out", "resume"))
    command.add_argument("--out", default=argparse.SUPPRESS, metavar="DIR",
                         help="where the results go; default profiles/<arch>_<head>")
    command.add_argument("--steps", default=30, metavar="N", help="timed steps in each pass; default 30")


def run(arguments: argparse.Namespace) -> None:
    steps = integer(1)("--steps", arguments.steps)
    config = read_config(arguments)
    from fasttrain.perf import profile_report

    found, folder = profile_report.profile(config, steps)
    print_rich(profile_report.render(found))
    print(f"written to {folder}:\nprofile.json, details.json, phases.png, roofline.png, trace.json.gz")
