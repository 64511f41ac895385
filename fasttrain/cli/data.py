"""`fasttrain data`: each action is a function of `cli.data_actions`, its flags the function's arguments."""

import argparse
from typing import Any

from fasttrain.checks import Check, choice, integer, number, text
from fasttrain.cli.parser import add_actions, add_command

Option = tuple[str, Any, Check, str]  # what stands for its value, default, check, help line

DATA = ("PATH", None, text, "as for `fasttrain run --data`")
SOURCE = {"data": DATA, "image-size": ("PIXELS", 64, integer(8, 4096), "side of an image")}
# action: (help line, its options)
ACTIONS: dict[str, tuple[str, dict[str, Option]]] = {
    "fetch": ("download the official archive into the user cache", {
        "to": ("PATH", None, text, "where to put it"), "url": ("URL", None, text, "another place to get it from"),
        "md5": ("HEX", None, text, "its checksum"), "size": ("BYTES", None, integer(1), "its size")}),
    "pack": ("decode a data set once, as `run` does on first use", SOURCE),
    "verify": ("check every byte of a pack against its sha256", SOURCE),
    "info": ("count and describe a data set", {"data": DATA}),
    "preview": ("draw images of a split into a PNG", {
        **SOURCE, "split": ("NAME", "train", choice(("train", "val")), "train or val"),
        "out": ("FILE", "preview.png", text, "the picture")}),
    "synth": ("draw a synthetic data set of JPEG files into a new folder", {
        "classes": ("K", 200, integer(1), "number of classes"),
        "train": ("N", 50, integer(1), "training images of each class"),
        "val": ("N", 10, integer(1), "validation images of each class"),
        "size": ("PIXELS", 64, integer(1), "side of an image"),
        "seed": ("SEED", 0, integer(0, 2**32 - 1), "the same seed, the same bytes")}),
}


def add_flags(command: argparse.ArgumentParser) -> None:
    actions = add_actions(command)
    for name, (help_line, options) in ACTIONS.items():
        action = add_command(actions, name, help_line)
        for option, (metavar, default, _, words) in options.items():
            suffix = "" if default is None else f"; default {default}"
            action.add_argument(f"--{option}", default=default, metavar=metavar, help=words + suffix)
        if name == "pack":
            action.add_argument("--rebuild", action="store_true", help="pack again even where a pack is there")
            action.add_argument("--skip-corrupt", nargs="?", const="0.1%", metavar="P%",
                                help="leave unreadable images out: one, or up to P percent; default 0.1%%")
        if name == "synth":
            action.add_argument("directory", help="the folder to make")


def run(arguments: argparse.Namespace) -> None:
    given = {}
    for option, (_, _, check, _) in ACTIONS[arguments.action][1].items():
        name = option.replace("-", "_")
        value = getattr(arguments, name)
        if value is not None:
            given["location" if name == "data" else name] = check(f"--{option}", value)
    given |= {name: getattr(arguments, name) for name in ("rebuild", "directory") if hasattr(arguments, name)}
    if getattr(arguments, "skip_corrupt", None) is not None:
        given["skip_corrupt"] = number(0, 100)("--skip-corrupt", arguments.skip_corrupt.removesuffix("%"))
    from fasttrain.cli import data_actions

    getattr(data_actions, arguments.action)(**given)
