"""The command line: parses, calls one function, maps errors to exit codes. `--help` never imports torch."""

import argparse
import difflib
import functools
import importlib
import os
import re
import sys
import traceback

from fasttrain import __version__
from fasttrain.cli.completion import SHELLS, script
from fasttrain.cli.flags import add_config_flags, read_config
from fasttrain.cli.inference import COMMANDS
from fasttrain.cli.study import COMMANDS as STUDY
from fasttrain.config import FLAGS, RunConfig, choice, integer
from fasttrain.errors import ConfigError, FasttrainError
from fasttrain.perf.bench.results import check_outputs
from fasttrain.registry import split_variant


class Parser(argparse.ArgumentParser):
    """Errors are one line with a suggestion, and flags are never abbreviated."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message):
        raise ConfigError(f"{message}; see {self.prog} --help")

    def parse_args(self, args=None, namespace=None):
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            command = getattr(parsed, "parser", self)
            near = difflib.get_close_matches(rest[0].split("=")[0], list(command._option_string_actions), 1, 0.7)
            hint = f"did you mean {near[0]}?" if near else f"see {command.prog} --help"
            raise ConfigError(f"unknown argument {rest[0]!r}: {hint}")
        return parsed


def build_parser():
    parser = Parser(prog="fasttrain", description="Trains ResNet variants on Tiny-ImageNet as fast as the hardware "
                                                  "allows, and shows where the time goes.")
    parser.add_argument("--version", action="version", version=f"fasttrain {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for add in (add_run, add_study, add_inference, add_profile, add_bench, add_summary, add_data, add_env,
                add_completion):
        add(commands)
    return parser


def add_command(commands, name, function, text):
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(function=function, parser=command)
    return command


def add_run(commands):
    command = add_command(commands, "run", run, "train one variant")
    add_config_flags(command)
    command.add_argument("--dry-run", action="store_true",
                         help="build everything, do one train step, one eval step, one save and load, and report")
    command.add_argument("--print-config", action="store_true", help="print the configuration as YAML and stop")


def run(arguments):
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


def add_study(commands):
    for name, (text, add_arguments, function) in STUDY.items():
        add_arguments(add_command(commands, name, function, text))


def add_inference(commands):
    for name, (text, add_arguments, _) in COMMANDS.items():
        command = add_command(commands, name, inference, text)
        command.add_argument("checkpoint", metavar="CKPT", help="a checkpoint file, or a run folder for its best one")
        add_arguments(command)
        command.add_argument("--json", metavar="FILE", help="write the result to FILE")


def inference(arguments):
    """Each of these commands is a function of the parsed flags that returns (result, lines that tell it)."""
    check_outputs(arguments.json, getattr(arguments, "out", None))
    result, lines = COMMANDS[arguments.command][-1](arguments)
    if arguments.json:
        write_json(arguments.json, result)
    print("\n".join(lines))


def add_profile(commands):
    command = add_command(commands, "profile", profile, "tell where a training step's time goes and what bounds it")
    add_config_flags(command, without=("out", "resume"))
    command.add_argument("--out", default=argparse.SUPPRESS, metavar="DIR",
                         help="where the results go; default profiles/<arch>_<head>")
    command.add_argument("--steps", default=30, metavar="N", help="timed steps in each pass; default 30")


def profile(arguments):
    steps = integer(1)("--steps", arguments.steps)
    config = read_config(arguments)
    from fasttrain.perf import profile_report
    from fasttrain.perf.profile_report import render

    found, folder = profile_report.profile(config, steps)
    print_rich(render(found))
    print(f"written to {folder}:\nprofile.json, details.json, phases.png, roofline.png, trace.json.gz")


# name of a benchmark: (the module beside it that shows what it found, help)
BENCHES = {
    "loader": ("loader_chart", "measure loaders: the same batches, delivered"),
    "step": ("training_chart", "measure the training step on a constant batch, over a grid of settings"),
    "e2e": ("training_chart", "measure whole epochs with loader and evaluation, beside peers"),
}


def add_bench(commands):
    group = add_command(commands, "bench", None, "measure speed: of loaders, of the step alone, of whole epochs")
    actions = group.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, required=True)
    for name, (_, text) in BENCHES.items():
        command = add_command(actions, name, bench, text)
        importlib.import_module(f"fasttrain.perf.bench.{name}").add_arguments(command)
        command.add_argument("--json", metavar="FILE", help="write the results to FILE")
        command.add_argument("--plot", metavar="FILE", help="draw them into FILE, a PNG")
        if name == "e2e":
            add_config_flags(command)


def bench(arguments):
    """Each benchmark is a module with `add_arguments`, `options` and a function `bench_<name>`."""
    check_outputs(arguments.json, arguments.plot)
    name = arguments.action
    module = importlib.import_module(f"fasttrain.perf.bench.{name}")
    options = module.options(arguments, *([read_config(arguments)] if name == "e2e" else []))
    result = getattr(module, f"bench_{name}")(**options, report=lambda text: print(text, file=sys.stderr, flush=True))
    chart = importlib.import_module(f"fasttrain.perf.bench.{BENCHES[name][0]}")
    if arguments.json:
        write_json(arguments.json, result)
    if arguments.plot:
        chart.draw(result, arguments.plot)
    print_rich(chart.render(result))


def add_summary(commands):
    command = add_command(commands, "summary", summary, "print the layer table of a variant: parameters, memory, FLOPs")
    for name, default in (("arch", "resnet18"), ("head", "origin"), ("stem", "standard"), ("image-size", 64)):
        short = ["-a"] if name == "arch" else []
        command.add_argument(*short, f"--{name}", default=argparse.SUPPRESS, metavar=name.split("-")[-1].upper(),
                             help=f"default {default}")
    command.add_argument("--classes", default=200, metavar="K", help="number of classes; default 200")
    command.add_argument("--json", metavar="FILE", help="write rows and totals to FILE as well")


def summary(arguments):
    flags = {name: value for name, value in vars(arguments).items() if name in FLAGS}
    config = RunConfig.load(flags={**flags, **split_variant(flags)})
    from fasttrain.perf.summary import summarize
    from fasttrain.perf.summary_table import render

    result = summarize(config.arch, config.head, config.classes, config.image_size, config.stem)
    if arguments.json:
        write_json(arguments.json, result.to_json())
    render(result)


def add_data(commands):
    group = add_command(commands, "data", None, "fetch, pack, verify, describe, show or make data")
    actions = group.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser, required=True)
    add = functools.partial(add_data_action, actions)
    add("fetch", "download the official archive into the user cache", {
        "to": ("PATH", None, "where to put it"), "url": ("URL", None, "another place to get it from"),
        "md5": ("HEX", None, "its checksum"), "size": ("BYTES", None, "its size")})
    source = {"data": ("PATH", None, "as for `fasttrain run --data`"), "image-size": ("PIXELS", 64, "side of an image")}
    pack = add("pack", "decode a data set once, as `run` does on first use", source)
    pack.add_argument("--rebuild", action="store_true", help="pack again even where a pack is there")
    add("verify", "check every byte of a pack against its sha256", source)
    add("info", "count and describe a data set", {"data": source["data"]})
    add("preview", "draw images of a split into a PNG", {
        **source, "split": ("NAME", "train", "train or val"), "out": ("FILE", "preview.png", "the picture")})
    synth = add("synth", "draw a synthetic data set of JPEG files into a new folder", {
        "classes": ("K", 200, "number of classes"), "train": ("N", 50, "training images of each class"),
        "val": ("N", 10, "validation images of each class"), "size": ("PIXELS", 64, "side of an image"),
        "seed": ("SEED", 0, "the same seed, the same bytes")})
    synth.add_argument("directory", help="the folder to make")


def add_data_action(actions, name, text, options):
    """A `fasttrain data` action whose options, {name: (metavar, default, help)}, become arguments of its function."""
    command = add_command(actions, name, data, text)
    for option, (metavar, default, help_text) in options.items():
        suffix = "" if default is None else f"; default {default}"
        command.add_argument(f"--{option}", default=default, metavar=metavar, help=help_text + suffix)
    return command


NUMBERS = {"image_size": integer(8, 4096), "size": integer(1), "classes": integer(1), "train": integer(1),
           "val": integer(1), "seed": integer(0, 2**32 - 1)}


def data(arguments):
    given = {name: value for name, value in vars(arguments).items()
             if name not in ("command", "action", "function", "parser") and value is not None}
    for name in given.keys() & NUMBERS.keys():
        given[name] = NUMBERS[name](f"--{name.replace('_', '-')}", given[name])
    if "data" in given:
        given["location"] = given.pop("data")
    if arguments.action == "preview":
        from fasttrain.cli.data import preview

        print(preview(**given))
    else:
        from fasttrain.cli import data as commands

        getattr(commands, arguments.action)(**given)


def add_env(commands):
    command = add_command(commands, "env", env, "tell what is installed and what each missing part needs")
    command.add_argument("--json", action="store_true", help="print JSON")


def env(arguments):
    from fasttrain import environment

    report = environment.report()
    if arguments.json:
        import json

        print(json.dumps(report, indent=2))
    else:
        print_rich(environment.render(report))


def add_completion(commands):
    command = add_command(commands, "completion", completion, "print a shell's completion script")
    command.add_argument("shell", metavar="SHELL", help=", ".join(SHELLS))


def completion(arguments):
    print(script(build_parser(), choice(SHELLS)("shell", arguments.shell)))


def write_json(path, value):
    """Writes JSON to `path`; ConfigError where that cannot be."""
    import json

    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot write: {error.strerror or error}") from None


def print_rich(renderable):
    from rich.console import Console

    Console().print(renderable)


def main(argv=None):
    """Runs a command; returns its exit code (0, 2 configuration, 3 data, 4 diverged, 75 stopped, 130 Ctrl-C)."""
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
        if arguments.command is None:
            parser.print_help()
            return 2
        arguments.function(arguments)
        sys.stdout.flush()  # here, where a reader that has gone, such as `head`, is no traceback
        return 0
    except FasttrainError as error:
        print(f"fasttrain: error: {one_line(error)}", file=sys.stderr)
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


def explain(error):
    """(one line, exit code) for an exception that a machine may cause: a broken package, a path that cannot be used."""
    if package := broken_package(error):
        return f"{package} is missing or broken ({error}): `fasttrain env` tells what to do", 2
    if isinstance(error, OSError):  # a folder that this user may not read, a name that is too long
        return f"{error.filename or 'a file'}: {error.strerror or error}", 3
    return None


def broken_package(error):
    """The package whose import raised `error`; None where it came from elsewhere."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.partition(".")[0]
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if frame.f_code.co_name == "<module>" and package not in ("__main__", "fasttrain"):
            return package
    return None


def one_line(error):
    return re.sub(r"\s+", " ", str(error))
