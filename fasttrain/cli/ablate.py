"""`fasttrain ablate`."""

import argparse

from fasttrain.checks import integer
from fasttrain.cli.flags import add_config_flags, given_keys
from fasttrain.cli.report import print_answers
from fasttrain.shares import refuse_shares
from fasttrain.study.plan import names, plan

OWN = ("arch", "head", "recipe", "seed", "out", "resume")  # keys that the study decides itself


def add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--archs", metavar="A,B", help="backbones; default all")
    command.add_argument("--heads", metavar="A,B", help="classifier heads; default all")
    command.add_argument("--seeds", default=3, metavar="N", help="seeds 0 to N-1; default 3")
    command.add_argument("--recipe", default="fast", metavar="A,B", help="optimisation recipes; default fast",
                         dest="recipes")
    command.add_argument("--out", default="runs/ablation", metavar="DIR", dest="folder",
                         help="where runs and report go; default runs/ablation. The same command continues a study")
    command.add_argument("--jobs", default=1, metavar="J", help="runs at a time, each on a GPU of its own; default 1")
    command.add_argument("--nproc", default=1, metavar="N", help="processes that share each run, see `run`; default 1")
    command.add_argument("--dry-run", action="store_true", help="print the plan and how long it takes, from real steps")
    add_config_flags(command, without=OWN)


def run(arguments: argparse.Namespace) -> None:
    configs = plan(names("archs", arguments.archs), names("heads", arguments.heads), names("recipe", arguments.recipes),
                   integer(1)("--seeds", arguments.seeds), arguments.folder, arguments.config, given_keys(arguments),
                   arguments.sets)
    jobs, nproc = (integer(1)(f"--{name}", getattr(arguments, name)) for name in ("jobs", "nproc"))
    for config in configs:
        refuse_shares(config, nproc)
    from fasttrain.study import study, worker

    if arguments.dry_run:
        print("\n".join(study.dry_run(configs, arguments.folder)))
    else:
        slots = worker.Slots(jobs, nproc, configs[0].device)
        print_answers(*study.ablate(configs, arguments.folder, slots, jobs))
