"""`fasttrain export`."""

import argparse

from fasttrain.checks import choice
from fasttrain.cli.flags import add_checkpoint, add_json
from fasttrain.cli.output import check_outputs, write_json
from fasttrain.inference import FORMATS


def add_flags(command: argparse.ArgumentParser) -> None:
    add_checkpoint(command)
    command.add_argument("--to", default="safetensors", metavar="FORMAT",
                         help="safetensors (weights and what describes them); torch-export or onnx (a program, from "
                              "uint8 pixels [B, S, S, 3] to logits); default safetensors")
    command.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    add_json(command)


def run(arguments: argparse.Namespace) -> None:
    check_outputs(arguments.json, arguments.out)
    to = choice(FORMATS)("--to", arguments.to)
    from fasttrain.inference.export import export

    done = export(arguments.checkpoint, arguments.out, to)
    write_json(arguments.json, done)
    print(f"{done['file']}: {done['bytes'] / 1e6:.1f} MB; read back, its logits differ by at most "
          f"{done['max_difference']:g} from the checkpoint's, whose largest is {done['largest_logit']:.3g}")
