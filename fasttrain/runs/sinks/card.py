"""`card.md`: a run on one page."""

from __future__ import annotations

from pathlib import Path

import yaml

from fasttrain import format
from fasttrain.config import RunConfig
from fasttrain.environment import describe
from fasttrain.runs.sinks import wording
from fasttrain.storage import write_atomically
from fasttrain.train.events import Finish, Start
from fasttrain.train.rows import Row, best_row

PICTURES = (
    ("results.png", "Loss, accuracy, F1, learning rate and speed by epoch"),
    ("confusion.png", "Confusion matrix and the most confused pairs"),
    ("per_class.png", "Accuracy by class"),
    ("mistakes.png", "Validation images that the best weights are surest about, and wrong"),
    ("train_batch.png", "A training batch as the network gets it"),
)


def write_card(folder: Path, run: Start, finish: Finish) -> None:
    """Writes `card.md`: what was trained on what, recipe, result, speed, environment, the command that repeats it.

    Embeds the pictures that lie in the folder.
    """
    config = run.config
    epochs = f"{len(finish.rows)} of {config.epochs} epochs"
    title = (f"# {config.variant}\n\n{run.parameters:,} parameters, trained on {wording.describe_data(run)}. "
             f"Status: {finish.status}, {wording.early(run, finish) or epochs}.")
    parts = [front_matter(run, finish), title, "## Result\n\n" + result_table(finish.rows)]
    parts += [f"![{caption}]({name})" for name, caption in PICTURES if (folder / name).exists()]
    parts += [
        f"## Repeat it\n\n```sh\n{config.command()}\n```",
        "## Recipe\n\n" + bullets([wording.describe_recipe(run), *settings(config)]),
        "## Speed\n\n" + wording.speed(finish) + f"; {format.duration(finish.seconds)} in all.",
        "## Environment\n\n" + bullets([f"{run.device}, {run.precision}, compile {run.compile}, loader {run.loader}",
                                        *run.notes, *facts(run.environment)]),
    ]
    write_atomically(folder / "card.md", "\n\n".join(parts) + "\n")


def front_matter(run: Start, finish: Finish) -> str:
    """Returns the YAML block that model hubs read (https://huggingface.co/docs/hub/model-cards#model-card-metadata)."""
    dataset = {"name": f"{wording.describe_data(run)}", "type": "image-classification"}
    found = {"library_name": "fasttrain", "pipeline_tag": "image-classification",
             "tags": ["image-classification", "pytorch", run.config.arch, run.config.variant], "metrics": ["accuracy"]}
    if finish.best:
        scores = [{"type": "accuracy", "name": "top-1", "value": round(finish.best["val_top1"] / 100, 4)},
                  {"type": "accuracy", "name": "top-5", "value": round(finish.best["val_top5"] / 100, 4)},
                  {"type": "f1", "name": "macro-F1", "value": round(finish.best["val_macro_f1"] / 100, 4)}]
        found["model-index"] = [{"name": run.config.variant, "results": [
            {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": scores}]}]
    return f"---\n{yaml.safe_dump(found, sort_keys=False, allow_unicode=True)}---"


def result_table(rows: list[Row]) -> str:
    """Returns a Markdown table of the best and the last epoch."""
    best = best_row(rows)
    if not best:
        return "No epoch was finished."
    lines = ["| | epoch | top-1 % | top-5 % | macro-F1 % | val loss | train loss |", "|---|---|---|---|---|---|---|"]
    for name, row in (("best", best), ("last", rows[-1])):
        scores = [row["val_top1"], row["val_top5"], row["val_macro_f1"]]
        losses = [row["val_loss"], row["train_loss"]]
        cells = [format.number(v, ".2f") for v in scores] + [format.number(v, ".4f") for v in losses]
        lines.append(f"| {name} | {row['epoch']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def settings(config: RunConfig) -> list[str]:
    """Returns the sections of a config, one line each, and the seed."""
    sections = [f"{name}: " + ", ".join(f"{key} {value}" for key, value in section.items())
                for name, section in config.to_dict().items() if isinstance(section, dict)]
    return [*sections, f"seed {config.seed}"]


def facts(environment: dict) -> list[str]:
    """Returns what an environment report says, one line each, and the versions of the packages."""
    packages = [f"{name} {version}" for name, version in environment["packages"].items() if version]
    return [*(f"{name}: {value}" for name, value in describe(environment)), ", ".join(packages)]


def bullets(lines: list[str]) -> str:
    """Returns a Markdown list."""
    return "\n".join(f"- {line}" for line in lines)
