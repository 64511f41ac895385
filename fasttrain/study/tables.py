"""What a report shows of `ablation.json`: plain lists and dicts of text, for the templates."""

import os
from pathlib import Path
from urllib.parse import quote

from fasttrain.environment import describe
from fasttrain.format import number
from fasttrain.runs.sinks.card import settings
from fasttrain.train.status import DONE

HEADS = {
    "origin": "average pooling (avg), then one linear layer: ResNet's classifier",
    "maxpool": "max pooling (max), then the same one linear layer",
    "dropout": "no pooling; AlexNet's classifier, the fully connected stack: three linear layers with ReLU and dropout",
}
# the metrics of the main table, in its order; the others follow in a second one
MAIN = ("val_top1", "val_top5", "val_macro_f1", "best_val_top1", "val_loss")
NAMES = {
    "val_top1": "top-1", "val_top5": "top-5", "val_macro_f1": "macro-F1", "best_val_top1": "top-1, best epoch",
    "val_loss": "val loss", "val_loss_min": "lowest val loss", "val_loss_min_epoch": "at epoch",
    "val_loss_rise": "its rise until the end", "train_loss": "train loss", "epochs_to_level": "epochs to the level",
    "early_val_top1": "top-1 early on",
}
HOLDS = {True: "yes", False: "no", None: "cannot tell"}


def lead(ablation):
    """One line for each set of runs under equal conditions: what was trained on what."""
    finished = [run for run in ablation.get("runs", []) if run["status"] == DONE]
    lines = []
    for group in ablation.get("groups", []):
        own = [run for run in finished if run["recipe"] == group["recipe"]]
        variants = {(run["arch"], run["head"]) for run in own}
        counts = {"training images": group["train_images"], "validation images": group["val_images"],
                  "classes": group["classes"], "epochs": group["epochs"]}
        known = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count is not None)
        seeds = ", ".join(map(str, group["seeds"]))
        lines.append(f"Recipe {group['recipe']}: {known}; finished runs: {len(own)}, of variants: {len(variants)}, "
                     f"seeds: {seeds}")
    return lines


def heads(ablation):
    """(name, what it is) of the heads that were trained, as far as they are known."""
    trained = {run["head"] for run in ablation.get("runs", [])}
    return [(name, told) for name, told in HEADS.items() if name in trained]


def questions(ablation):
    """The questions, each with its answers: a list of (question, [(recipe, sentence)]).

    Where the dict has no "answers", the sentences of the comparisons by top-1 take their place.
    """
    answers = ablation.get("answers") or [row for row in ablation.get("comparisons", []) if row["metric"] == "val_top1"]
    found = {}
    for row in answers:
        found.setdefault(row["question"], []).append((row.get("recipe", ""), row["sentence"]))
    return list(found.items())


def results(ablation):
    """Variants by metrics: a list of tables, each a dict of `columns` and `rows`, no empty ones.

    A row is a dict of `variant`, `recipe`, `n` and `cells`; a cell has `mean`, `interval` and `original`, all texts.
    """
    by_variant, present = {}, []
    for row in ablation.get("variants", []):
        by_variant.setdefault((row["arch"], row["head"], row["recipe"]), {})[row["metric"]] = row
        if row["metric"] not in present:
            present.append(row["metric"])
    main = [metric for metric in MAIN if metric in present]
    more = [metric for metric in present if metric not in MAIN]
    return [result_table(ablation, by_variant, metrics) for metrics in (main, more) if metrics]


def marks(ablation):
    """One line for each set of runs: the level and the early epoch that some metrics speak of, by backbone."""
    return [f"recipe {group['recipe']}: " + "; ".join(
                f"the level is {mark['level']:g} % in {arch}, early is epoch {mark['early']}"
                for arch, mark in group["marks"].items())
            for group in ablation.get("groups", []) if group["marks"]]


def absent(ablation):
    """The variants that were tried but of which no run finished."""
    found = {}
    for run in ablation.get("runs", []):
        found.setdefault(f"{run['arch']} {run['head']}, recipe {run['recipe']}", []).append(run["status"])
    return [variant for variant, statuses in found.items() if DONE not in statuses]


def result_table(ablation, by_variant, metrics):
    """One table of `results`."""
    original = {(row["arch"], row["head"]): row for row in ablation.get("original", {}).get("results", [])}
    rows = []
    for (arch, head, recipe), found in by_variant.items():
        theirs = original.get((arch, head), {})
        cells = [cell(found.get(metric), theirs.get(metric), digits(ablation, metric)) for metric in metrics]
        rows.append({"variant": f"{arch} {head}", "recipe": recipe, "n": max(row["n"] for row in found.values()),
                     "epochs": theirs.get("epochs", ""), "cells": cells})
    units = [unit(ablation, metric) for metric in metrics]
    return {"columns": [NAMES.get(m, m) + (f", {u}" if u else "") for m, u in zip(metrics, units, strict=True)],
            "rows": rows, "several": len({row["recipe"] for row in rows}) > 1,
            "original": any(cell["original"] for row in rows for cell in row["cells"])}


def cell(row, original, places):
    """A mean with its interval, and what the original had; "-" where there is nothing."""
    form = f".{places}f"
    if row is None or row["mean"] is None:
        return {"mean": "-", "interval": "", "original": number(original, "g", "")}
    return {"mean": rounded(row["mean"], form), "interval": span(row, form), "original": number(original, "g", "")}


def span(row, form):
    """The interval of a mean or a difference; "" where there is none."""
    return "" if row["low"] is None else f"{rounded(row['low'], form)} to {rounded(row['high'], form)}"


def rounded(value, form):
    """A number as text, without a minus before what is rounded to zero."""
    text = format(value, form)
    return format(0.0, form) if float(text) == 0 else text


def digits(ablation, metric):
    """How many decimals a metric gets."""
    default = 3 if "loss" in metric else 1
    return ablation.get("metrics", {}).get(metric, {}).get("digits", default)


def unit(ablation, metric):
    """The unit of a metric's values; points are the unit of differences of percentages."""
    known = ablation.get("metrics", {}).get(metric, {}).get("unit", "")
    return {"points": "%", "epochs": ""}.get(known, known)


def comparisons(ablation):
    """The comparisons as rows of text, those by final top-1 first."""
    rows = sorted(ablation.get("comparisons", []), key=lambda row: row["metric"] != "val_top1")
    found = []
    for row in rows:
        form = f"+.{digits(ablation, row['metric'])}f"
        found.append({
            "main": row["metric"] == "val_top1", "question": row["question"], "pair": f"{row['a']} - {row['b']}",
            "where": ", ".join(filter(None, (row["arch"], row.get("recipe")))),
            "metric": row.get("label") or NAMES.get(row["metric"], row["metric"]),
            "difference": "-" if row["difference"] is None else rounded(row["difference"], form),
            "interval": span(row, form),
            "p": number(row["p"], ".2g"), "p_holm": number(row.get("p_holm"), ".2g"), "n": row["n"],
            "method": row["method"]})
    return found


def claims(ablation):
    """The original's further claims as rows of text."""
    return [{**row, "holds": HOLDS[row["holds"]]} for row in ablation.get("claims", [])]


def commands(ablation):
    """(recipe, command of its first run) of each group."""
    return [(group["recipe"], group["command"]) for group in ablation.get("groups", [])]


def facts(ablation, runs):
    """How it was done as (name, text): what differs between runs is listed, each value once."""
    rows = [(f"recipe {label}", recipe(run.config)) for label, run in first_runs(ablation, runs).items()]
    told = {"data": [str(run.config.data or "default") for run in runs]}
    for name in ("device", "precision", "compile", "loader"):
        told[name] = [str(run.facts[name]) for run in runs if name in run.facts]
    for run in runs:
        for name, value in machine(run.environment):
            told.setdefault(name, []).append(value)
    return rows + [(name, "; ".join(dict.fromkeys(values))) for name, values in told.items() if values]


def recipe(config):
    """The optimisation of a run in one line."""
    *sections, _ = settings(config.to_dict())
    return "; ".join([f"{config.epochs} epochs, batch {config.batch_size}, peak lr {config.lr:g}, label smoothing "
                      f"{config.label_smoothing:g}, last short batch {'left out' if config.drop_last else 'kept'}",
                      *sections])


def machine(environment):
    """What env.json tells of machine and versions as (name, text); nothing where it was cut down."""
    try:
        packages = [f"{name} {version}" for name, version in environment["packages"].items() if version]
        return [*describe(environment), ("packages", ", ".join(packages))]
    except (KeyError, TypeError):
        return []


def first_runs(ablation, runs):
    """The first run of each recipe, by its name."""
    names, found = recipe_names(ablation), {}
    for run in runs:
        found.setdefault(names.get(str(run.folder), run.config.recipe), run)
    return found


def recipe_names(ablation):
    """What the dict calls the recipe of each run, by run folder."""
    return {row["folder"]: row["recipe"] for row in ablation.get("runs", [])}


def run_table(ablation, folder):
    """Every run as a row of text; `link` is the address of its folder as seen from `folder`, "" without one."""
    rows = []
    for run in ablation.get("runs", []):
        final, best = run.get("final") or {}, run.get("best") or {}
        place = run.get("folder") or ""
        rows.append({
            "variant": f"{run['arch']} {run['head']}", "recipe": run["recipe"], "seed": run["seed"],
            "status": run["status"], "reason": run.get("reason") or "", "epochs": run.get("epochs", 0),
            "final": number(final.get("val_top1"), ".2f"), "best": number(best.get("val_top1"), ".2f"),
            "folder": place, "link": address(place, folder) if place and Path(place).is_dir() else ""})
    return rows


def address(place, folder):
    """The relative address of a run folder as seen from the report's."""
    return quote(os.path.relpath(Path(place).resolve(), Path(folder).resolve()))
