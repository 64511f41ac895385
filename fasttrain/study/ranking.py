"""What the report of runs of any settings shows: a ranked table, what each key does, curves."""

from collections.abc import Sequence
from pathlib import Path

from fasttrain.format import duration
from fasttrain.runs.run import Run
from fasttrain.study import tables
from fasttrain.study.analysis.ranking import NAMED
from fasttrain.study.plots import Plot
from fasttrain.study.plots.variants import Study, by_name
from fasttrain.train.status import DONE

SHOWN = 8  # settings in a picture
COLUMNS = (("val_top1", "top-1, %", 1), ("best_val_top1", "best epoch, %", 1), ("val_macro_f1", "macro-F1, %", 1),
           ("val_loss", "val loss", 3), ("train_loss", "train loss", 3))
MARKS = {"a": ("won", "better"), "b": ("lost", "worse"), "open": ("open", "not told apart"),
         "none": ("none", "no verdict")}


def drawn(ablation: dict, runs: Sequence[Run]) -> Study:
    """Returns what pictures show: the reference and the best of the other settings, SHOWN of them."""
    rows = ablation["settings"]
    shown = sorted(rows, key=lambda row: not row["reference"])[:SHOWN]
    names = {row["name"] for row in shown}
    labels = {row["folder"]: row["recipe"] for row in ablation["runs"] if row["recipe"] in names}
    return by_name([run for run in runs if str(run.folder) in labels], labels)


def content(ablation: dict, runs: Sequence[Run], folder: Path, plots: Sequence[Plot]) -> dict:
    """Returns everything that the templates may show, by the names they use for it."""
    keys, factors = ablation["keys"], ablation["factors"]
    reference = next((row["name"] for row in ablation["settings"] if row["reference"]), "")
    compared = [shown(row) for row in ablation["comparisons"]]
    return {
        "title": title([factor[0] for factor in factors]), "told": ablation["told"], "keys": keys,
        "lead": ", ".join(f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
                          for name, value in ablation["common"].items()),
        "rows": ranked(ablation), "columns": [name for _, name, _ in COLUMNS],
        "wide": len(keys) > NAMED, "effects": [row for row in compared if row["question"] != "all settings"],
        "reference": reference, "method": ablation["method"],
        "circumstances": [(name, text) for name, text in tables.circumstances(ablation, runs)
                          if not name.startswith("recipe ") or name == f"recipe {reference}"],
        "runs": tables.run_table(ablation, folder), "left_out": ablation["left_out"], "done": DONE, "plots": plots,
        "shown": min(SHOWN, len(ablation["settings"])), "settings": len(ablation["settings"]),
    }


def title(keys: Sequence[str]) -> str:
    """Returns the question that the runs answer."""
    if not keys:
        return "One setting, several seeds"
    if len(keys) > 3:
        return f"What do {len(keys)} settings change?"
    return f"Which {' with which '.join(keys)} does best?"


def ranked(ablation: dict) -> list[dict]:
    """Returns the settings as rows of text, the best first, with the difference to the reference and its verdict."""
    beside = {row["a"]: shown(row) for row in ablation["comparisons"] if row["question"] == "all settings"}
    return [{**row, "rank": rank, "values": list(row["values"].values()), "seconds": duration(known["mean"])
             if (known := row["numbers"].get("seconds")) else "-",
             "cells": [tables.cell(row["numbers"].get(key), None, digits) for key, _, digits in COLUMNS],
             "beside": beside.get(row["name"])} for rank, row in enumerate(ablation["settings"], 1)]


def shown(row: dict) -> dict:
    """Returns a comparison with its numbers as text and its verdict as a mark."""
    kind, mark = MARKS[row["settled"]]
    return {**row, "difference": tables.rounded(row["difference"], "+.1f"), "interval": tables.interval(row, "+.1f"),
            "p": tables.number(row["p"], ".2g"), "p_holm": tables.number(row["p_holm"], ".2g"), "kind": kind,
            "mark": mark}
