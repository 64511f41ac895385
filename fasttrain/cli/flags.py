"""Flags that several commands share, and reading them."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fasttrain.config import FLAGS, RunConfig, choices
from fasttrain.errors import ConfigError
from fasttrain.registry import split_variant
from fasttrain.runs.settings import recovered_config


def add_config_flags(command: argparse.ArgumentParser, without: Iterable[str] = ()) -> None:
    """Adds flags for what a run is most often asked, `without` some, and for files and single keys of all the rest."""
    add_key_flags(command, [name for name in FLAGS if name not in without])
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets",
                         help="any key of the configuration, such as augment.flip=random; repeatable")
    command.add_argument("--config", action="append", default=[], metavar="FILE",
                         help="YAML with keys of the configuration; repeatable, later files win")


def add_key_flags(command: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Adds flags for these keys of a RunConfig; those not given stay out of the parsed namespace."""
    for name in names:
        short = ["-a"] if name == "arch" else []
        text = RunConfig.__dataclass_fields__[name].metadata["help"].replace("%", "%%")
        values = f" ({', '.join(choices(name))})" if len(choices(name)) > 1 else ""
        command.add_argument(*short, f"--{name.replace('_', '-')}", default=argparse.SUPPRESS,
                             metavar=name.split("_")[-1].upper(), help=text + values)


def given_keys(arguments: argparse.Namespace) -> dict[str, str]:
    """Returns the keys of a RunConfig that the flags give, a variant's name as arch and head."""
    flags = {name: value for name, value in vars(arguments).items() if name in FLAGS}
    return {**flags, **split_variant(flags)}


def read_config(arguments: argparse.Namespace) -> RunConfig:
    """Returns the RunConfig that the flags describe. `--resume FOLDER` starts from that run's own configuration."""
    flags, saved = given_keys(arguments), None
    if flags.get("resume", "never") not in ("never", "auto"):
        saved = settings_of_run(flags["resume"])
        flags.setdefault("out", None)
    return RunConfig.load(arguments.config, flags, arguments.sets, saved)


def settings_of_run(folder: str) -> dict[str, Any]:
    """Returns the settings of the run in a folder; ConfigError where it holds none."""
    if not any(os.path.exists(Path(folder) / name) for name in ("config.yaml", "checkpoints")):
        what = "holds no run" if os.path.exists(folder) else "there is no such folder"
        raise ConfigError(f"--resume {folder}: {what}; name a run folder, or give auto for the newest unfinished run")
    return recovered_config(folder)[0].to_dict()


def add_checkpoint(command: argparse.ArgumentParser) -> None:
    """Adds the argument of the commands that use a checkpoint."""
    command.add_argument("checkpoint", metavar="CKPT", help="a checkpoint file, or a run folder for its best one")


def add_json(command: argparse.ArgumentParser) -> None:
    """Adds `--json FILE`."""
    command.add_argument("--json", metavar="FILE", help="write the result to FILE as well")
