"""`fasttrain completion`: a script for bash, zsh or fish, which shtab makes from the parser of the command line."""

import argparse

from fasttrain.checks import choice
from fasttrain.cli.main import build_parser
from fasttrain.config import choices, known_keys
from fasttrain.inference import FORMATS
from fasttrain.recipe import recipe_names
from fasttrain.registry import ARCHS, HEADS, LOADERS, TRACKERS, variants
from fasttrain.study.record.categories import CATEGORIES

SHELLS = ("bash", "zsh", "fish")
# what stands in a usage line for a file or folder
PATHS = ("DATA", "DIR", "FILE", "FOLDER", "OUT", "PATH", "RESUME", "RUN")
# words that may stand in place of a path
WORDS = {"data": "synthetic", "resume": "auto never"}
# further values that can be listed, by the name of the argument
VALUES = {"split": ["train", "val"], "to": FORMATS, "shell": SHELLS, "sets": [f"{key}=" for key in known_keys()],
          "arch": [*ARCHS.names(), *variants()], "archs": ARCHS.names(), "heads": HEADS.names(),
          "recipes": recipe_names(), "loaders": LOADERS.names(), "tracker": TRACKERS.names(),
          "category": list(CATEGORIES)}


def add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("shell", metavar="SHELL", help=", ".join(SHELLS))


def run(arguments: argparse.Namespace) -> None:
    print(script(build_parser(), choice(SHELLS)("shell", arguments.shell)))


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Returns the completion script of a parser for a shell of SHELLS.

    Adds values to the parser's arguments, which then refuses others: no good for parsing afterwards.
    """
    import shtab

    add_values(parser)
    return shtab.complete(parser, shell)


def add_values(parser: argparse.ArgumentParser) -> None:
    """Gives each argument its list of values, or paths and the words beside them; goes on into sub-commands."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                add_values(command)
        elif action.nargs != 0:
            action.choices = action.choices or VALUES.get(action.dest) or choices(action.dest)
            if not action.choices and (action.metavar in PATHS or not action.option_strings):
                action.complete = path_or(WORDS.get(action.dest, ""))


def path_or(words: str) -> dict[str, str | dict[str, str]]:
    """Returns what each shell does to complete a path, or one of `words`, parted by blanks."""
    function = "_fasttrain_file" + words.replace(" ", "_")
    return {
        "bash": function, "zsh": f"{{_files; compadd {words}}}" if words else "_files",
        "fish": f"(__fish_complete_path (commandline -ct)) {words}",
        "preamble": {"bash": f'{function}() {{ compgen -f -- "$1"; compgen -W "{words}" -- "$1"; }}'},
    }
