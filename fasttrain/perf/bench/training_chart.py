"""The rows of `bench step` and `bench e2e` as a table and as a picture."""

import numpy as np
from rich.console import Group

from fasttrain.format import duration, size
from fasttrain.perf.bench.rows import labels
from fasttrain.perf.tables import new_table
from fasttrain.plotting import BLUE, GRAY, draw_bars, dress_panel, legend_below, look, new_figure, save

FIRST = ("fasttrain", "resnet")  # our own bars stand out from those of peers


def render(result: dict) -> Group:
    """Returns a result for rich to print; what ran out of memory or failed says so in the place of its numbers."""
    rows = result["rows"]
    shared, names = labels(rows)
    own = [row["name"] for row in rows]
    told_apart = len(set(own)) == len(own) > 1
    if told_apart:  # the settings then stand below, once for all rows that have them
        names, settings = own, [text.removeprefix(name).lstrip(", ") for name, text in zip(own, names, strict=True)]
    table = new_table("contender", "images/s", "min - max", "ms/step", "MFU", "compile", "memory", title=shared,
                      wrap=True)
    for name, row in zip(names, rows, strict=True):
        speed, step_ms = row["images_per_second"], row["step_ms"]["median"]
        numbers = (row["status"],) if row["status"] != "ok" else (
            rate(speed["median"]), f"{rate(speed['min'])} - {rate(speed['max'])}",
            f"{step_ms:,.{1 if step_ms >= 100 else 2}f}", f"{row['mfu']:.1%}", duration(row["compile_seconds"]),
            size(row["peak_memory_bytes"]))
        table.add_row(name, *numbers)
    lines = legend(names, settings) if told_apart else []
    lines += [f"fasttrain, warm, is {x['median']:.2f} times as fast as {x['over']} ({x['min']:.2f} to {x['max']:.2f})"
             for x in result.get("speedups", [])]
    return Group(table, *([""] if lines else []), *lines)


def legend(names: list[str], settings: list[str]) -> list[str]:
    """Returns a line for each kind of settings, with the names of the rows that have it."""
    users = {}
    for name, text in zip(names, settings, strict=True):
        if text:
            users.setdefault(text, []).append(name)
    return [f"{text}: {'; '.join(own)}" for text, own in users.items()]


def draw(result: dict, path: str) -> None:
    """Draws a result into a PNG: lines over the batch size where that varies, else bars; whiskers from min to max."""
    rows, machine = result["rows"], result["environment"]["cpu"]
    for device in result["environment"].get("devices", []):
        if device["name"] != "cpu":
            machine = device["name"]
    done = [row for row in rows if row["status"] == "ok"]
    by_size = len({row["batch_size"] for row in done}) > 1
    shared, names = labels(rows, apart=("batch_size",) if by_size else ())
    title = f"Training speed on {machine}\n{shared}"
    if by_size:
        draw_lines(rows, names, path, title)
    else:
        draw_speeds(rows, names, path, title)


def draw_lines(rows, names, path, title):
    lines = {name: [] for name in names}
    for name, row in zip(names, rows, strict=True):
        if row["status"] == "ok":
            lines[name].append(row)
    figure = new_figure(10, 5 + 0.2 * len(lines), title)
    axes = figure.subplots()
    for place, (name, points) in enumerate(lines.items()):
        points.sort(key=lambda row: row["batch_size"])
        speeds, whiskers = [row["images_per_second"]["median"] for row in points], list(map(whiskers_of, points))
        axes.errorbar([row["batch_size"] for row in points], speeds, np.reshape(whiskers, (-1, 2)).T, label=name,
                      capsize=3, **look(place).markers | look(place).line)
    sizes = sorted({row["batch_size"] for row in rows})
    dress_panel(axes, x="batch size", y="images/s")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{value:,}" for value in sizes])
    axes.minorticks_off()
    axes.set_ylim(0)
    legend_below(figure, axes.get_legend_handles_labels()[0], columns=1 if len(lines) < 5 else 2, fontsize=9)
    save(figure, path)


def draw_speeds(rows, names, path, title):
    """Draws a bar for each row; what has no numbers says why in their place."""
    figure = new_figure(10, 1.8 + 0.36 * len(rows), title)
    done = [row["status"] == "ok" for row in rows]
    speeds = [row["images_per_second"]["median"] if ok else 0 for row, ok in zip(rows, done, strict=True)]
    whiskers = [whiskers_of(row) if ok else (0, 0) for row, ok in zip(rows, done, strict=True)]
    texts = [rate(speed) if ok else row["status"] for row, speed, ok in zip(rows, speeds, done, strict=True)]
    colors = [BLUE if row["name"].startswith(FIRST) else GRAY for row in rows]
    draw_bars(figure.subplots(), names, speeds, texts, unit="images/s", color=colors,
              whiskers=np.transpose(whiskers).tolist())
    save(figure, path)


def rate(value: float) -> str:
    """Returns images a second with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def whiskers_of(row: dict) -> tuple[float, float]:
    """Returns how far the slowest and the fastest measurement lie from the median, in images a second."""
    speed = row["images_per_second"]
    return speed["median"] - speed["min"], speed["max"] - speed["median"]
