"""The rows of `bench step` and `bench e2e` as a table and as a picture."""

import numpy as np
from rich.console import Group

from fasttrain.format import duration, size
from fasttrain.perf.bench.rows import labels
from fasttrain.perf.tables import new_table
from fasttrain.plotting import BLACK, BLUE, GREEN, ORANGE, new_figure, save

STYLES = [(color, line, marker) for line, marker in (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
          for color in (BLUE, ORANGE, GREEN, BLACK)]
FIRST, GRAY = ("fasttrain", "resnet"), "0.6"  # our own bars stand out from those of peers


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
        draw_bars(rows, names, path, title)


def draw_lines(rows, names, path, title):
    lines = {name: [] for name in names}
    for name, row in zip(names, rows, strict=True):
        if row["status"] == "ok":
            lines[name].append(row)
    figure = new_figure(10, 5 + 0.2 * len(lines), title)
    axes = figure.subplots()
    for (name, points), (color, line, marker) in zip(lines.items(), STYLES * len(lines), strict=False):
        points.sort(key=lambda row: row["batch_size"])
        speeds, whiskers = [row["images_per_second"]["median"] for row in points], list(map(whiskers_of, points))
        axes.errorbar([row["batch_size"] for row in points], speeds, np.reshape(whiskers, (-1, 2)).T, label=name,
                      color=color, linestyle=line, marker=marker, capsize=3)
    sizes = sorted({row["batch_size"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{value:,}" for value in sizes])
    axes.minorticks_off()
    axes.set_xlabel("batch size", fontsize=10)
    axes.set_ylabel("images/s", fontsize=10)
    axes.set_ylim(0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", fontsize=9, frameon=False, ncols=1 if len(lines) < 5 else 2)
    save(figure, path)


def draw_bars(rows, names, path, title):
    figure = new_figure(10, 1.8 + 0.36 * len(rows), title)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        if row["status"] != "ok":
            axes.text(0, place, f"  {row['status']}", va="center", fontsize=10)
            continue
        speed, whiskers = row["images_per_second"]["median"], whiskers_of(row)
        color = BLUE if row["name"].startswith(FIRST) else GRAY
        axes.barh(place, speed, xerr=np.reshape(whiskers, (2, 1)), color=color, capsize=3, height=0.7)
        axes.text(speed + whiskers[1], place, f"  {rate(speed)}", va="center", fontsize=10)
    axes.set_yticks(range(len(rows)), names, fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("images/s", fontsize=10)
    axes.margins(x=0.12)
    axes.set_xlim(0)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def rate(value: float) -> str:
    """Returns images a second with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def whiskers_of(row: dict) -> tuple[float, float]:
    """Returns how far the slowest and the fastest measurement lie from the median, in images a second."""
    speed = row["images_per_second"]
    return speed["median"] - speed["min"], speed["max"] - speed["median"]
