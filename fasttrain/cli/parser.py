"""An argument parser whose errors are one line with a suggestion."""

import argparse
from typing import NoReturn

from fasttrain.errors import ConfigError
from fasttrain.registry import nearest


class Parser(argparse.ArgumentParser):
    """Raises ConfigError instead of leaving the process, and takes no abbreviated flags."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            command = getattr(parsed, "parser", self)
            near = nearest(rest[0].split("=")[0], list(command._option_string_actions))
            hint = f"did you mean {' or '.join(near)}?" if near else f"see {command.prog} --help"
            raise ConfigError(f"unknown argument {rest[0]!r}: {hint}")
        return parsed


def add_command(commands: argparse._SubParsersAction, name: str, text: str) -> Parser:
    """Adds a command with its help line; returns its parser."""
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(parser=command)
    return command


def add_actions(command: Parser) -> argparse._SubParsersAction:
    """Returns what takes the actions of a command such as `data`, of which a user has to name one."""
    return command.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, required=True)
