"""`fasttrain report`."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="+", metavar="RUN", help="run folders, or folders with run folders below them")
    command.add_argument("--out", default="report", metavar="DIR", help="where the report goes; default report")


def run(arguments: argparse.Namespace) -> None:
    from fasttrain.study import report

    print_answers(*report.report(arguments.runs, arguments.out))


def print_answers(ablation: dict[str, Any], folder: Path) -> None:
    """Prints the answers of a study, or what a ranking tells, what was left out of it, and where it was written."""
    for answer in ablation["answers"]:
        print(f"{answer['question']} [{answer['recipe']}] {answer['sentence']}")
    for line in ablation.get("told", ()):
        print(line)
    for line in ablation["left_out"]:
        print(f"left out: {line}", file=sys.stderr)
    print(f"written to {folder}: ablation.json, report.html, report.md")
