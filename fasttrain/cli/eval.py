"""`fasttrain eval`."""

import argparse

from fasttrain.checks import choice
from fasttrain.cli.flags import add_checkpoint, add_json, add_key_flags
from fasttrain.cli.output import check_outputs, write_json
from fasttrain.config import RunConfig
from fasttrain.inference import SPLITS

# the keys of a RunConfig that `eval` may set, beside `tta`; all others are those of the run
CHANGES = ("data", "loader", "classes", "limit_train", "limit_val", "val_fraction", "image_size", "batch_size",
           "device", "precision", "compile")


def add_flags(command: argparse.ArgumentParser) -> None:
    add_checkpoint(command)
    command.add_argument("--split", default="val", metavar="NAME", help="val or train, not augmented; default val")
    add_key_flags(command, CHANGES)
    command.add_argument("--tta", action="store_const", const=True, default=argparse.SUPPRESS,
                         help="count hits of each image averaged with its mirror image as well")
    add_json(command)


def run(arguments: argparse.Namespace) -> None:
    check_outputs(arguments.json)
    split = choice(SPLITS)("--split", arguments.split)
    changes = {name: value for name, value in vars(arguments).items() if name in (*CHANGES, "tta")}
    RunConfig(**changes)  # a wrong value answers before torch is imported
    from fasttrain.inference.evaluate import evaluate

    found = evaluate(arguments.checkpoint, split, **changes)
    write_json(arguments.json, found)
    print("\n".join([
        f"{found['variant']}, epoch {found['epoch']}: {found['checkpoint']}",
        f"{found['images']:,} {split} images of {found['classes']} classes, in {found['seconds']:.1f} s",
        *found["notes"],
        f"loss {found[f'{split}_loss']:.4f}, top-1 {found[f'{split}_top1']:.2f} %, "
        f"top-5 {found[f'{split}_top5']:.2f} %, macro-F1 {found[f'{split}_macro_f1']:.2f} %",
        *([f"top-1 {found[f'{split}_top1_tta']:.2f} % with mirror images"] if f"{split}_top1_tta" in found else []),
    ]))
