"""The verdicts of a study as short marks, a row for each question."""

from collections.abc import Sequence

from fasttrain.study import tables
from fasttrain.study.analysis.answers import BOTH, STACK


def marks(ablation: dict) -> dict:
    """Returns the verdicts as short marks: `columns`, and `rows` of a `question` and its `cells`.

    A cell is a dict of `kind` ("won", "open", "none"), `text`, and `span`, the number of columns that it takes.
    """
    told, archs = compared(ablation), {}
    for row in ablation["runs"]:
        if row["recipe"] in told:
            archs.setdefault(row["recipe"], {})[row["arch"]] = None
    by_top1 = {(row["question"], row["recipe"], row["arch"]): row for row in ablation["comparisons"]
               if row["metric"] == "val_top1"}
    questions = {}
    for answer in (answer for answer in ablation["answers"] if answer["recipe"] in told):
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


def compared(ablation: dict) -> set[str]:
    """Returns the recipes under which two heads were compared; all of them where that holds for none."""
    found = {row["recipe"] for row in ablation["comparisons"]}
    return found or {group["recipe"] for group in ablation["groups"]}


def mark(question: str, verdict: str, found: dict | None) -> dict:
    """Returns the mark of one question on one backbone; the number is the winner's lead by top-1."""
    kind = {"a": "won", "b": "won"}.get(verdict, verdict)
    if verdict == "none":
        text = "no verdict"
    elif question == STACK.text:
        text = {"a": "no", "b": "yes", "open": "not settled"}[verdict]
    elif verdict == "open":
        text = f"not told apart ({tables.rounded(found['difference'], '+.1f')})"
    else:
        text = f"{found[verdict]} +{tables.rounded(abs(found['difference']), '.1f')}"
    alone = " (one seed)" if kind == "won" and found and found["n"] == 1 else ""
    return {"kind": kind, "text": text + alone, "span": 1}


def both_mark(verdicts: Sequence[str], archs: int) -> dict:
    """Returns the mark of the question whether the backbones agree, from the verdicts on pooling and classifier."""
    if archs < 2:
        return {"kind": "none", "text": "one backbone only", "span": archs}
    words = {"a": "the same", "b": "not the same", "open": "not settled"}
    text = ", ".join(f"{name}: {words[verdict]}"
                     for name, verdict in zip(("pooling", "classifier"), verdicts, strict=True))
    return {"kind": "open" if "open" in verdicts else "won", "text": text, "span": archs}
