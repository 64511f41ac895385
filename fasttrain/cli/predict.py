"""`fasttrain predict`."""

import argparse

from fasttrain.checks import choice, integer
from fasttrain.cli.flags import add_checkpoint, add_json
from fasttrain.cli.output import check_outputs, write_json
from fasttrain.config import DEVICES


def add_flags(command: argparse.ArgumentParser) -> None:
    add_checkpoint(command)
    command.add_argument("images", metavar="IMAGE", nargs="+", help="an image file, of any size and format")
    command.add_argument("--top", default=5, metavar="N", help="classes to name for each image; default 5")
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu or cuda; default auto")
    add_json(command)


def run(arguments: argparse.Namespace) -> None:
    check_outputs(arguments.json)
    top, device = integer(1)("--top", arguments.top), choice(DEVICES)("--device", arguments.device)
    from fasttrain.inference.predict import predict

    found = predict(arguments.checkpoint, arguments.images, top, device)
    write_json(arguments.json, found)
    for one in found:
        print(one["image"])
        for entry in one["top"]:
            print(f"  {entry['probability']:7.2%}  {entry['name']} ({entry['class']})")
