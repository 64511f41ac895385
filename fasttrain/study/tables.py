"""What a report shows of `ablation.json`: plain lists and dicts of text, for the templates."""

import inspect
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import quote

from fasttrain.environment import describe
from fasttrain.format import number
from fasttrain.registry import HEADS
from fasttrain.runs.run import Run
from fasttrain.runs.sinks.card import settings
from fasttrain.study.analysis.measures import MAIN, METRICS
from fasttrain.train.status import DONE

# the words that the answers use for heads; any other head is described by the first line of its docstring
KNOWN_HEADS = {
    "origin": "average pooling (avg), then one linear layer: ResNet's classifier",
    "maxpool": "max pooling (max), then the same one linear layer",
    "dropout": "no pooling; AlexNet's classifier, the fully connected stack: three linear layers with ReLU and dropout",
}


def lead(ablation: dict, recipes: Collection[str]) -> list[str]:
    """Returns one line for each set of runs under one of `recipes`: what was trained on what."""
    lines = []
    for group in (group for group in ablation["groups"] if group["recipe"] in recipes):
        own = [run for run in ablation["runs"] if run["recipe"] == group["recipe"] and run["status"] == DONE]
        counts = {"training images": group["train_images"], "validation images": group["val_images"],
                  "classes": group["classes"], "epochs": group["epochs"], "finished runs": len(own),
                  "variants": len({(run["arch"], run["head"]) for run in own})}
        known = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count is not None)
        lines.append(f"Recipe {group['recipe']}: {known}, seeds {', '.join(map(str, group['seeds']))}")
    return lines


def heads(ablation: dict) -> list[tuple[str, str]]:
    """Returns (name, what it is) of the heads that were trained, in the order of the registry."""
    trained = {run["head"] for run in ablation["runs"]}
    return [(name, KNOWN_HEADS.get(name) or inspect.getdoc(HEADS.load(name)).splitlines()[0].rstrip("."))
            for name in HEADS.names() if name in trained]


def results(ablation: dict) -> list[dict]:
    """Returns variants by metrics: a main table and one of further metrics, each a dict of `columns` and `rows`.

    A row is a dict of `variant`, `recipe`, `n` and `cells`; a cell has `mean`, `interval` and `original`, all texts.
    """
    variants = {}
    for row in ablation["variants"]:
        variants.setdefault((row["arch"], row["head"], row["recipe"]), {})[row["metric"]] = row
    names = list(METRICS)
    return [result_table(ablation, variants, part) for part in (names[:MAIN], names[MAIN:]) if variants]


def result_table(ablation: dict, variants: dict, metrics: Sequence[str]) -> dict:
    """Returns one table of `results`."""
    originals = {(row["arch"], row["head"]): row for row in ablation["original"]["results"]}
    rows = []
    for (arch, head, recipe), found in variants.items():
        original = originals.get((arch, head), {})
        rows.append({"variant": f"{arch} {head}", "recipe": recipe, "n": max(row["n"] for row in found.values()),
                     "epochs": original.get("epochs", ""),
                     "cells": [cell(found.get(metric), original.get(metric), METRICS[metric].digits)
                               for metric in metrics]})
    return {"columns": [column(METRICS[metric]) for metric in metrics], "rows": rows,
            "several": len({row["recipe"] for row in rows}) > 1,
            "original": any(cell["original"] for row in rows for cell in row["cells"])}


def originals(ablation: dict) -> dict:
    """Returns the original's own numbers as `columns` and `rows` of `variant`, `epochs` and `cells`."""
    told = ablation["original"]["results"]
    columns = [metric for metric in METRICS if any(metric in row for row in told)]
    return {"columns": [column(METRICS[metric]) for metric in columns],
            "rows": [{"variant": f"{row['arch']} {row['head']}", "epochs": row["epochs"],
                      "cells": [number(row.get(metric), "g") for metric in columns]} for row in told]}


def column(metric) -> str:
    """Returns the head of a metric's column, with its unit; differences of percentages alone have points."""
    unit = {"points": "%", "epochs": ""}.get(metric.unit, metric.unit)
    return f"{metric.column}, {unit}" if unit else metric.column


def cell(row: dict | None, original: float | None, digits: int) -> dict[str, str]:
    """Returns a mean with its interval, and what the original had; "-" where there is nothing."""
    known = row is not None and row["mean"] is not None
    return {"mean": rounded(row["mean"], f".{digits}f") if known else "-",
            "interval": interval(row, f".{digits}f") if known else "", "original": number(original, "g", "")}


def interval(row: dict, form: str) -> str:
    """Returns the interval of a mean or a difference; "" where there is none."""
    return "" if row["low"] is None else f"{rounded(row['low'], form)} to {rounded(row['high'], form)}"


def rounded(value: float, form: str) -> str:
    """Returns a number as text, without a minus before what is rounded to zero."""
    text = format(value, form)
    return format(0.0, form) if float(text) == 0 else text


def milestones(ablation: dict) -> list[str]:
    """Returns one line for each set of runs: the level and the early epoch that some metrics speak of, by backbone."""
    return [f"recipe {group['recipe']}: " + "; ".join(
                f"the level is {found['level']:g} % in {arch}, early is epoch {found['early']}"
                for arch, found in group["milestones"].items())
            for group in ablation["groups"] if group["milestones"]]


def unfinished(ablation: dict) -> list[str]:
    """Returns the variants of which no run finished."""
    finished = {}
    for run in ablation["runs"]:
        name = f"{run['arch']} {run['head']}, recipe {run['recipe']}"
        finished[name] = finished.get(name, False) or run["status"] == DONE
    return [name for name, done in finished.items() if not done]


def comparisons(ablation: dict) -> list[dict]:
    """Returns the comparisons as rows of text, those by final top-1 first."""
    found = []
    for row in sorted(ablation["comparisons"], key=lambda row: row["metric"] != "val_top1"):
        form = f"+.{METRICS[row['metric']].digits}f"
        found.append({
            **row, "main": row["metric"] == "val_top1", "pair": f"{row['a']} - {row['b']}",
            "where": f"{row['arch']}, {row['recipe']}", "metric": row["label"],
            "difference": "-" if row["difference"] is None else rounded(row["difference"], form),
            "interval": interval(row, form) or "none", "p": number(row["p"], ".2g"),
            "p_holm": number(row["p_holm"], ".2g")})
    return found


def circumstances(ablation: dict, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Returns how it was done as (name, text); where runs differ, each value once."""
    names, recipes = {row["folder"]: row["recipe"] for row in ablation["runs"]}, {}
    told = {"data": []}
    for run in runs:
        recipes.setdefault(names[str(run.folder)], run.config)
        told["data"].append(str(run.config.data or "default"))
        for name in ("device", "precision", "compile", "loader"):
            told.setdefault(name, []).extend([str(run.facts[name])] if name in run.facts else [])
        packages = [f"{name} {version}" for name, version in run.environment.get("packages", {}).items() if version]
        for name, value in (*describe(run.environment), ("packages", ", ".join(packages))):
            told.setdefault(name, []).append(value)
    return [*((f"recipe {name}", recipe_text(config)) for name, config in recipes.items()),
            *((name, "; ".join(dict.fromkeys(values))) for name, values in told.items() if values)]


def recipe_text(config) -> str:
    """Returns the optimisation of a run in one line."""
    *sections, _ = settings(config)
    return "; ".join([f"{config.epochs} epochs, batch {config.batch_size}, peak lr {config.lr:g}, label smoothing "
                      f"{config.label_smoothing:g}, last short batch {'left out' if config.drop_last else 'kept'}",
                      *sections])


def run_table(ablation: dict, folder: Path) -> list[dict]:
    """Returns every run as a row of text; `link` is the address of its folder as seen from `folder`, "" without one."""
    return [{**run, "variant": f"{run['arch']} {run['head']}", "reason": run["reason"] or "",
             "final": number((run["final"] or {}).get("val_top1"), ".2f"),
             "best": number((run["best"] or {}).get("val_top1"), ".2f"),
             "link": address(run["folder"], folder) if Path(run["folder"]).is_dir() else ""}
            for run in ablation["runs"]]


def address(place: str, folder: Path) -> str:
    """Returns the relative address of a run folder as seen from the report's."""
    return quote(os.path.relpath(Path(place).resolve(), folder.resolve()))
