"""The verdicts of a study as short marks, a row for each question."""

from collections.abc import Sequence

from fasttrain.study import tables
from fasttrain.study.analysis.answers import BOTH, STACK


def marks(ablation: dict) -> dict:
    """Returns the verdicts as short marks: `columns`, and `rows` of a `question` and its `cells`.

    A cell is a dict of `kind` ("won", "open", "none"), `text`, and `span`, the number of columns that it takes.
    """
    archs = {}
    for row in ablation["runs"]:
        if row["recipe"] in {group["recipe"] for group in ablation["groups"]}:
            archs.setdefault(row["recipe"], {})[row["arch"]] = None
    by_top1 = {(row["question"], row["recipe"], row["arch"]): row for row in ablation["comparisons"]
               if row["metric"] == "val_top1"}
    questions = {}
    for answer in ablation["answers"]:
        question, recipe, verdicts = answer["question"], answer["recipe"], answer["verdicts"]
        if question == BOTH:
            cells = [both_mark(list(verdicts.values()), len(archs[recipe]))]
        else:
            cells = [mark(question, verdicts.get(arch, "none"), by_top1.get((question, recipe, arch)))
                     for arch in archs[recipe]]
        questions.setdefault(question, []).extend(cells)
    columns = [f"{arch}, {recipe}" if len(archs) > 1 else arch for recipe, own in archs.items() for arch in own]
    return {"columns": columns,
            "rows": [{"question": question, "cells": cells} for question, cells in questions.items()]}


def mark(question: str, verdict: str, compared: dict | None) -> dict:
    """Returns the mark of one question on one backbone; the number is the winner's lead by top-1."""
    difference = compared and compared["difference"]
    if verdict == "none" or difference is None:
        return {"kind": "none", "text": "no verdict", "span": 1}
    if question == STACK.text:
        words = {"a": "no", "b": "yes", "open": "not settled"}
        return {"kind": "open" if verdict == "open" else "won", "text": words[verdict], "span": 1}
    if verdict == "open":
        return {"kind": "open", "text": f"not told apart ({tables.rounded(difference, '+.1f')})", "span": 1}
    return {"kind": "won", "text": f"{compared[verdict]} +{tables.rounded(abs(difference), '.1f')}", "span": 1}


def both_mark(verdicts: Sequence[str], archs: int) -> dict:
    """Returns the mark of the question whether the backbones agree, from the verdicts on pooling and classifier."""
    if archs < 2:
        return {"kind": "none", "text": "one backbone only", "span": archs}
    words = {"a": "the same", "b": "not the same", "open": "not settled"}
    text = ", ".join(f"{name}: {words[verdict]}"
                     for name, verdict in zip(("pooling", "classifier"), verdicts, strict=True))
    return {"kind": "open" if "open" in verdicts else "won", "text": text, "span": archs}
