"""`fasttrain run`."""

import argparse

from fasttrain.cli.flags import add_config_flags, read_config


def add_flags(command: argparse.ArgumentParser) -> None:
    add_config_flags(command)
    command.add_argument("--dry-run", action="store_true",
                         help="build everything, do one train step, one eval step, one save and load, and report")
    command.add_argument("--print-config", action="store_true", help="print the configuration as YAML and stop")


def run(arguments: argparse.Namespace) -> None:
    config = read_config(arguments)
    if arguments.print_config:
        import yaml

        print(yaml.safe_dump(config.to_dict(), sort_keys=False), end="")
        return
    from fasttrain.runs import lifecycle

    if arguments.dry_run:
        print("\n".join(lifecycle.dry_run(config)))
    else:
        lifecycle.run(config)
