"""`fasttrain ablate`."""

import argparse

from fasttrain.checks import integer
from fasttrain.cli.flags import add_config_flags, given_keys
from fasttrain.cli.report import print_answers
from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError
from fasttrain.shares import refuse_shares
from fasttrain.study.plan import names, plan
from fasttrain.study.sweep import sweep

OWN = ("arch", "head", "recipe", "seed", "out", "resume")  # keys that the study decides itself


def add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--archs", metavar="A,B", help="backbones; default all")
    command.add_argument("--heads", metavar="A,B", help="classifier heads; default all")
    command.add_argument("--recipe", default="fast", metavar="A,B", help="optimisation recipes; default fast",
                         dest="recipes")
    command.add_argument("--vary", action="append", nargs="+", default=[], metavar="KEY=A,B",
                         help="compare values of any setting of one network instead, such as augment.flip=none,random; "
                              "repeatable. Keys after one --vary change together")
    shape = command.add_mutually_exclusive_group()
    shape.add_argument("--grid", action="store_true", help="with --vary: every combination, the default")
    shape.add_argument("--pairs", action="store_true", help="with --vary: each value alone, beside a baseline")
    command.add_argument("--seeds", default=3, metavar="N", help="seeds 0 to N-1; default 3")
    command.add_argument("--out", metavar="DIR", dest="folder", help="where runs and report go; default runs/ablation, "
                         "with --vary runs/sweep. The same command continues a study")
    command.add_argument("--jobs", default=1, metavar="J", help="runs at a time, each on a GPU of its own; default 1")
    command.add_argument("--nproc", default=1, metavar="N", help="processes that share each run, see `run`; default 1")
    command.add_argument("--dry-run", action="store_true", help="print the plan and how long it takes, from real steps")
    add_config_flags(command, without=OWN)


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.folder or ("runs/sweep" if arguments.vary else "runs/ablation")
    configs = planned(arguments, integer(1)("--seeds", arguments.seeds), folder)
    jobs, nproc = (integer(1)(f"--{name}", getattr(arguments, name)) for name in ("jobs", "nproc"))
    for config in configs:
        refuse_shares(config, nproc)
    from fasttrain.study import study, worker

    if arguments.dry_run:
        print("\n".join(study.dry_run(configs, folder)))
    else:
        slots = worker.Slots(jobs, nproc, configs[0].device)
        print_answers(*study.ablate(configs, folder, slots, jobs))


def planned(arguments: argparse.Namespace, seeds: int, folder: str) -> list[RunConfig]:
    """Returns the runs that the flags ask for; ConfigError where they contradict each other."""
    flags = given_keys(arguments)
    archs, heads, recipes = arguments.archs, arguments.heads, arguments.recipes
    if arguments.vary:
        for key, flag, text in (("arch", "archs", archs or "resnet18"), ("head", "heads", heads or "origin"),
                                ("recipe", "recipe", recipes)):
            flags[key], *others = names(flag, text)
            if others:
                raise ConfigError(f"--{flag} {text}: with --vary name one, or --vary {key}={text}")
        return sweep(arguments.vary, arguments.pairs, seeds, folder, arguments.config, flags, arguments.sets)
    if arguments.grid or arguments.pairs:
        raise ConfigError("--grid, --pairs: say what to vary: --vary KEY=A,B")
    return plan(names("archs", archs), names("heads", heads), names("recipe", recipes), seeds, folder,
                arguments.config, flags, arguments.sets)
