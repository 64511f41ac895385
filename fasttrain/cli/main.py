"""The command line: finds the command, runs it, turns errors into exit codes. `--help` imports no command."""

import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence

from fasttrain import __version__
from fasttrain.cli.parser import Parser, add_command
from fasttrain.errors import FasttrainError, Interrupted
from fasttrain.launch import ended, leave

# name: help line. `fasttrain.cli.<name>` has the command's flags (`add_flags`) and its one call (`run`).
COMMANDS = {
    "run": "train one variant",
    "ablate": "train every variant with several seeds and compare them",
    "record": "race for the least time to an accuracy, against the record that stands",
    "report": "compare runs that are there: tables, answers and plots from run folders",
    "runs": "list run folders: sorted, filtered, with what differs between them",
    "eval": "measure a checkpoint on a split; what is not given is as in its run",
    "predict": "name what images show: the likeliest classes of each",
    "export": "write the network of a checkpoint for other programs to read",
    "profile": "tell where a training step's time goes and what bounds it",
    "bench": "measure speed: of loaders, of the step alone, of whole epochs",
    "summary": "print the layer table of a variant: parameters, memory, FLOPs",
    "data": "fetch, pack, verify, describe, show or make data",
    "env": "tell what is installed and what each missing part needs",
    "completion": "print a shell's completion script",
}


def build_parser(words: Sequence[str] | None = None) -> Parser:
    """Returns the parser of the command line. With `words`, only the commands among them get their flags."""
    parser = Parser(prog="fasttrain", description="Trains ResNet variants on Tiny-ImageNet as fast as the hardware "
                                                  "allows, and shows where the time goes.")
    parser.add_argument("--version", action="version", version=f"fasttrain {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, text in COMMANDS.items():
        command = add_command(commands, name, text)
        if words is None or name in words:
            load(name).add_flags(command)
    return parser


def load(name: str):
    """Imports and returns the module of a command."""
    return importlib.import_module(f"fasttrain.cli.{name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code (0, 2 configuration, 3 data, 4 diverged, 75 stopped, 130 Ctrl-C)."""
    return ended(run(sys.argv[1:] if argv is None else argv))


def run(words: Sequence[str]) -> int:
    """Does what `main` says."""
    try:
        parser = build_parser(words)
        arguments = parser.parse_args(words)
        if arguments.command is None:
            parser.print_help()
            return 2
        arguments.words = words
        code = load(arguments.command).run(arguments)
        sys.stdout.flush()  # here, where a reader that has gone, such as `head`, is no traceback
        return code or 0
    except Interrupted as error:  # asked for, so no error
        print(f"fasttrain: stopped: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except FasttrainError as error:
        if text := one_line(error):  # without one where another process of the run says it
            print(f"fasttrain: error: {text}", file=sys.stderr)
            leave("said", text)
        return error.exit_code
    except KeyboardInterrupt:
        print("fasttrain: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        told = explain(error)
        if told is None:  # a bug
            raise
        print(f"fasttrain: error: {one_line(told[0])}", file=sys.stderr)
        return told[1]


def explain(error: Exception) -> tuple[str, int] | None:
    """Returns (message, exit code) for what a machine may cause: a broken package, an unusable path; else None."""
    if package := broken_package(error):
        return f"{package} is missing or broken ({error}): `fasttrain env` tells what to do", 2
    if isinstance(error, OSError):  # a folder that this user may not read, a name that is too long
        return f"{error.filename or 'a file'}: {error.strerror or error}", 3
    return None


def broken_package(error: Exception) -> str | None:
    """Returns the package whose import raised `error`; None where it came from elsewhere."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.partition(".")[0]
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if frame.f_code.co_name == "<module>" and package not in ("__main__", "fasttrain"):
            return package
    return None


def one_line(error: Exception | str) -> str:
    """Returns the text of an error with each run of white space as one blank."""
    return re.sub(r"\s+", " ", str(error))
