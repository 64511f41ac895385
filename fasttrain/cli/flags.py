"""Flags of the command line that fill a RunConfig."""

import argparse
import dataclasses
import os

from fasttrain.config import FLAGS, RunConfig, choices
from fasttrain.registry import split_variant


def add_config_flags(command, without=()):
    """Flags for what a run is most often asked, `without` some, and for files and single keys of all the rest."""
    add_key_flags(command, [name for name in FLAGS if name not in without])
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets",
                         help="any key of the configuration, such as augment.flip=random; repeatable")
    command.add_argument("--config", action="append", default=[], metavar="FILE",
                         help="YAML with keys of the configuration; repeatable, later files win")


def add_key_flags(command, names):
    """Flags for these keys of a RunConfig; those not given stay out of the parsed namespace."""
    fields = {field.name: field for field in dataclasses.fields(RunConfig)}
    for name in names:
        short = ["-a"] if name == "arch" else []
        metavar = name.split("_")[-1].upper()
        values = f" ({', '.join(choices(name))})" if len(choices(name)) > 1 else ""
        command.add_argument(*short, f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, metavar=metavar,
                             help=fields[name].metadata["help"].replace("%", "%%") + values)


def read_config(arguments):
    """The RunConfig that the flags describe. `--resume FOLDER` starts from that run's own configuration."""
    flags = {name: value for name, value in vars(arguments).items() if name in FLAGS}
    flags.update(split_variant(flags))
    files = list(arguments.config)
    if flags.get("resume", "never") not in ("never", "auto"):
        files.insert(0, os.path.join(flags["resume"], "config.yaml"))
        flags.setdefault("out", None)
    return RunConfig.load(files, flags, arguments.sets)
