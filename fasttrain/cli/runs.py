"""`fasttrain runs`."""

import argparse
import sys

from fasttrain.cli.flags import add_json
from fasttrain.cli.output import check_outputs, print_rich, write_json


def add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("folders", nargs="*", default=["runs"], metavar="FOLDER",
                         help="run folders, or folders with run folders below them; default runs")
    command.add_argument("--where", action="append", default=[], metavar="KEY=VALUE",
                         help="only runs like status=done, 'val_top1>40', augment.flip!=none or folder=*/fast-*; "
                              "repeatable")
    command.add_argument("--sort", metavar="KEY", help="by any setting, or a key of the last row, such as val_top1")
    command.add_argument("--reverse", action="store_true", help="sort from the highest to the lowest")
    add_json(command)


def run(arguments: argparse.Namespace) -> None:
    check_outputs(arguments.json)
    from fasttrain.study import listing

    entries, left_out = listing.find(arguments.folders)
    shown = listing.select(entries, arguments.where, arguments.sort, arguments.reverse)
    write_json(arguments.json, shown)
    print_rich(listing.table(shown))
    print(f"{len(shown)} of {len(entries)} runs")
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
