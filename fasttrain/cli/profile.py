"""`fasttrain profile`."""

import argparse
import sys

from fasttrain.checks import integer
from fasttrain.cli.flags import add_config_flags, read_config
from fasttrain.cli.output import print_rich
from fasttrain.launch import launch, wanted


def add_flags(command: argparse.ArgumentParser) -> None:
    add_config_flags(command, without=("out", "resume"))
    command.add_argument("--out", default=argparse.SUPPRESS, metavar="DIR",
                         help="where the results go; default profiles/<arch>_<head>, -2, ...")
    command.add_argument("--against", metavar="DIR",
                         help="an earlier profile of the same network: tells what changed, the largest first")
    command.add_argument("--nproc", metavar="N", help="processes on this machine that share each batch, one a GPU")
    command.add_argument("--steps", default=30, metavar="N", help="timed steps in each pass; default 30")


def run(arguments: argparse.Namespace) -> int | None:
    steps = integer(1)("--steps", arguments.steps)
    config = read_config(arguments)
    if (count := wanted(arguments.nproc, config)) > 1:
        return launch(config, count, 0, arguments.words)
    from fasttrain.perf import profile_report

    if measured := profile_report.profile(config, steps, arguments.against, report=tell):
        found, other, folder = measured
        print_rich(profile_report.render(found, other))
        print(f"written to {folder}:\n"
              "profile.html, profile.json, details.json, trace.json.gz, pictures as .png and .svg")
    return None


def tell(line: str) -> None:
    """Prints a line of progress, which a pipe shows at once."""
    print(line, file=sys.stderr, flush=True)
