"""`card.md`: a run on one page."""

from fasttrain import format
from fasttrain.environment import describe
from fasttrain.runs.sinks import wording
from fasttrain.storage import write_atomically
from fasttrain.train.rows import best_row

PICTURES = (
    ("results.png", "Loss, accuracy, F1, learning rate and speed by epoch"),
    ("confusion.png", "Confusion matrix and the most confused pairs"),
    ("per_class.png", "Accuracy by class"),
    ("train_batch.png", "A training batch as the network gets it"),
)


def write_card(folder, info, rows, summary, command):
    """Writes `card.md`: what was trained on what, recipe, result, speed, environment, the command that repeats it.

    `info` and `summary` are those of `Sink.start` and `Sink.finish`, `rows` those of `metrics.jsonl`. Pictures that lie
    in the folder are embedded.
    """
    title = (f"# {info['variant']}\n\n{info['parameters']:,} parameters, trained on {wording.describe_data(info)}. "
             f"Status: {summary['status']}, {len(rows)} of {info['epochs']} epochs.")
    parts = [title, "## Result\n\n" + result_table(rows)]
    parts += [f"![{caption}]({name})" for name, caption in PICTURES if (folder / name).exists()]
    parts += [
        f"## Repeat it\n\n```sh\n{command}\n```",
        "## Recipe\n\n" + bullets([wording.describe_recipe(info), *settings(info["config"])]),
        "## Speed\n\n" + wording.speed(summary) + f"; {format.duration(summary['seconds'])} in all.",
        "## Environment\n\n" + bullets([f"{info['device']}, {info['precision']}, compile {info['compile']}, "
                                        f"loader {info['loader']}", *info["notes"], *facts(info["environment"])]),
    ]
    write_atomically(folder / "card.md", "\n\n".join(parts) + "\n")


def result_table(rows):
    """A Markdown table of the best and the last epoch."""
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


def settings(config):
    """The sections of a config, one line each, and the seed."""
    sections = [f"{name}: " + ", ".join(f"{key} {value}" for key, value in section.items())
                for name, section in config.items() if isinstance(section, dict)]
    return [*sections, f"seed {config['seed']}"]


def facts(environment):
    """What an environment report says, one line each, and the versions of the packages."""
    packages = [f"{name} {version}" for name, version in environment["packages"].items() if version]
    return [*(f"{name}: {value}" for name, value in describe(environment)), ", ".join(packages)]


def bullets(lines):
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)
