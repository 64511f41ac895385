"""`fasttrain predict`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fasttrain.checks import choice, integer
from fasttrain.cli.flags import add_checkpoint, add_json
from fasttrain.cli.output import check_outputs, print_rich, write_json
from fasttrain.config import DEVICES

IN_FULL = 8  # images; of more than that each gets a line


def add_flags(command: argparse.ArgumentParser) -> None:
    add_checkpoint(command)
    command.add_argument("images", metavar="IMAGE", nargs="+",
                         help="an image file of any size and format, a folder with such files, or a pattern")
    command.add_argument("--top", default=5, metavar="N", help="classes to name for each image; default 5")
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu or cuda; default auto")
    command.add_argument("--picture", metavar="FILE", help="draw the images with their likeliest classes, as PNG")
    add_json(command)


def run(arguments: argparse.Namespace) -> None:
    check_outputs(arguments.json, arguments.picture)
    top, device = integer(1)("--top", arguments.top), choice(DEVICES)("--device", arguments.device)
    from fasttrain.inference.predict import draw_predictions, find_images, predict

    found = predict(arguments.checkpoint, find_images(arguments.images), top, device)
    write_json(arguments.json, found)
    if arguments.picture:
        draw_predictions(found, 96, Path(arguments.picture))
    if len(found) > IN_FULL:
        (print_table if sys.stdout.isatty() else print_lines)(found)
        return
    for one in found:
        print(one["image"])
        for entry in one["top"]:
            print(f"  {entry['probability']:7.2%}  {entry['name']} ({entry['class']})")


def print_lines(found: list[dict[str, Any]]) -> None:
    """Prints what `print_table` does for programs to read: a line for each image, tabs between its parts."""
    for one in found:
        first, *others = one["top"]
        print(one["image"], first["name"], f"{first['probability']:.1%}", *(other["name"] for other in others[:1]),
              sep="\t")


def print_table(found: list[dict[str, Any]]) -> None:
    """Prints a line for each image: its likeliest class, the probability, the second class."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name, options in (("image", {"overflow": "fold"}), ("class", {}), ("", {"justify": "right"}), ("or", {})):
        table.add_column(name, **options)
    for one in found:
        first, *others = one["top"]
        table.add_row(one["image"], first["name"], f"{first['probability']:.1%}", others[0]["name"] if others else "")
    print_rich(table)
