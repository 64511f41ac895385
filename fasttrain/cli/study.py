"""`fasttrain ablate` and `fasttrain report` on the command line."""

import sys

from fasttrain.cli.flags import add_config_flags
from fasttrain.config import FLAGS, integer
from fasttrain.study.plan import names, plan


def ablate_flags(command):
    command.add_argument("--archs", metavar="A,B", help="backbones; default all")
    command.add_argument("--heads", metavar="A,B", help="classifier heads; default all")
    command.add_argument("--seeds", default=3, metavar="N", help="seeds 0 to N-1; default 3")
    command.add_argument("--recipe", default="fast", metavar="A,B", help="optimisation recipes; default fast")
    command.add_argument("--out", default="runs/ablation", metavar="DIR", dest="folder",
                         help="where runs and report go; default runs/ablation. The same command continues a study")
    command.add_argument("--dry-run", action="store_true", help="print the plan and how long it takes, from real steps")
    add_config_flags(command, without=("arch", "head", "recipe", "seed", "out", "resume"))


def ablate(arguments):
    chosen = [names(flag, getattr(arguments, flag)) for flag in ("archs", "heads", "recipe")]
    flags = {name: value for name, value in vars(arguments).items() if name in FLAGS and name != "recipe"}
    configs = plan(*chosen, integer(1)("--seeds", arguments.seeds), arguments.folder, arguments.config, flags,
                   arguments.sets)
    from fasttrain.study import study

    if arguments.dry_run:
        print("\n".join(study.dry_run(configs, arguments.folder)))
    else:
        tell(*study.ablate(configs, arguments.folder))


def report_flags(command):
    command.add_argument("runs", nargs="+", metavar="RUN", help="run folders, or folders with run folders below them")
    command.add_argument("--out", default="report", metavar="DIR", help="where the report goes; default report")


def report(arguments):
    from fasttrain.study import report as reports

    tell(*reports.report(arguments.runs, arguments.out))


def tell(ablation, folder):
    """Prints the answers of a study, what was left out of it, and where it was written."""
    for answer in ablation["answers"]:
        print(f"{answer['question']} [{answer['recipe']}] {answer['sentence']}")
    for line in ablation["left_out"]:
        print(f"left out: {line}", file=sys.stderr)
    print(f"written to {folder}: ablation.json, report.html, report.md")


# name: (help, function that adds its flags, function of the parsed flags)
COMMANDS = {
    "ablate": ("train every variant with several seeds and compare them", ablate_flags, ablate),
    "report": ("compare runs that are there: tables, answers and plots from run folders", report_flags, report),
}
