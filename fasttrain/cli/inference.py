"""`fasttrain eval`, `predict` and `export`: their flags, and the lines that they print."""

import argparse

from fasttrain.cli.flags import add_key_flags
from fasttrain.config import DEVICES, RunConfig, choice, integer
from fasttrain.inference import FORMATS, SPLITS

# the keys of a RunConfig that `eval` may set; all others are those of the run
CHANGES = ("data", "loader", "classes", "limit_train", "limit_val", "image_size", "batch_size", "device", "precision",
           "compile", "tta")


def add_eval(command):
    command.add_argument("--split", default="val", metavar="NAME", help="val or train, not augmented; default val")
    add_key_flags(command, [name for name in CHANGES if name != "tta"])
    command.add_argument("--tta", action="store_const", const=True, default=argparse.SUPPRESS,
                         help="count hits of each image averaged with its mirror image as well")


def run_eval(arguments):
    split = choice(SPLITS)("--split", arguments.split)
    changes = {name: value for name, value in vars(arguments).items() if name in CHANGES}
    RunConfig(**changes)  # a wrong value answers before torch is imported
    from fasttrain.inference.evaluate import evaluate

    found = evaluate(arguments.checkpoint, split, **changes)
    return found, [
        f"{found['variant']}, epoch {found['epoch']}: {found['checkpoint']}",
        f"{found['images']:,} {split} images of {found['classes']} classes, in {found['seconds']:.1f} s",
        *found["notes"],
        f"loss {found[f'{split}_loss']:.4f}, top-1 {found[f'{split}_top1']:.2f} %, "
        f"top-5 {found[f'{split}_top5']:.2f} %, macro-F1 {found[f'{split}_macro_f1']:.2f} %",
        *([f"top-1 {found[f'{split}_top1_tta']:.2f} % with mirror images"] if f"{split}_top1_tta" in found else []),
    ]


def add_predict(command):
    command.add_argument("images", metavar="IMAGE", nargs="+", help="an image file, of any size and format")
    command.add_argument("--top", default=5, metavar="N", help="classes to name for each image; default 5")
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu or cuda; default auto")


def run_predict(arguments):
    top, device = integer(1)("--top", arguments.top), choice(DEVICES)("--device", arguments.device)
    from fasttrain.inference.predict import predict

    found = predict(arguments.checkpoint, arguments.images, top, device)
    lines = []
    for one in found:
        lines += [one["image"], *(f"  {entry['probability']:7.2%}  {entry['name']} ({entry['class']})"
                                  for entry in one["top"])]
    return found, lines


def add_export(command):
    command.add_argument("--to", default="safetensors", metavar="FORMAT",
                         help="safetensors (weights and what describes them), or torch-export (a program, from uint8 "
                              "pixels [B, S, S, 3] to logits); default safetensors")
    command.add_argument("--out", required=True, metavar="FILE", help="the file to write")


def run_export(arguments):
    to = choice(FORMATS)("--to", arguments.to)
    from fasttrain.inference.export import export

    done = export(arguments.checkpoint, arguments.out, to)
    return done, [f"{done['file']}: {done['bytes'] / 1e6:.1f} MB; read back, its logits differ by at most "
                  f"{done['max_difference']:g} from the checkpoint's, whose largest is {done['largest_logit']:.3g}"]


# name of a command: (help, what adds its flags, what runs it: (result, lines that tell it))
COMMANDS = {
    "eval": ("measure a checkpoint on a split; what is not given is as in its run", add_eval, run_eval),
    "predict": ("name what images show: the likeliest classes of each", add_predict, run_predict),
    "export": ("write the network of a checkpoint for other programs to read", add_export, run_export),
}
