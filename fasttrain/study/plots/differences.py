"""The answers as one picture: the differences in final top-1 with their intervals, against zero."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fasttrain import plotting
from fasttrain.page import say
from fasttrain.study.analysis.compare import PAIRED_T, QUESTIONS

ROOM = 2.5  # the axis reaches so many times as far as the largest difference; wider intervals end in an arrow


def draw_differences(comparisons: Sequence[dict], path: Path) -> str | None:
    """Draws the differences by top-1 of ablation.json's `comparisons`; returns the caption, None where there is none.

    A row for each question, backbone and recipe: hollow where the two cannot be told apart.
    """
    rows = [row for row in comparisons if row["metric"] == "val_top1" and row["difference"] is not None]
    if not rows:
        return None
    order = list(dict.fromkeys([*(question.text for question in QUESTIONS), *(row["question"] for row in rows)]))
    rows.sort(key=lambda row: order.index(row["question"]))
    figure = plotting.new_figure(6.4, 1.5 + 0.36 * max(7, len(rows)), "difference in final top-1")
    axes = figure.subplots()
    reach = axis_reach(rows)
    axes.axvline(0, color=plotting.BLACK, linewidth=1.2)
    for place, row in enumerate(rows):
        draw_row(axes, place, row, order.index(row["question"]), reach)
    several = len({row["recipe"] for row in rows}) > 1
    plotting.dress_panel(axes, x="points; right of 0, the first is ahead", grid="x")
    axes.set_yticks(range(len(rows)), [name(row, several) for row in rows], parse_math=False)
    axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=9)  # beside the arrows
    plotting.save_with_svg(figure, path)
    return ("Difference in final validation top-1 between two of them with its 95 % interval; dotted where one seed "
            "gives an interval over the validation images alone. Filled: told apart, after correction for several "
            "comparisons. Gray: no verdict. An arrow stands where an interval goes on.")


def axis_reach(rows: Sequence[dict]) -> float:
    """Returns how far the axis goes to each side of 0: to all differences, and to intervals that are not far wider."""
    ends = [abs(row[key]) for row in rows for key in ("low", "high") if row[key] is not None]
    differences = [abs(row["difference"]) for row in rows]
    return 1.08 * max(*differences, min(max(ends, default=0), ROOM * max(differences)), 0.1)


def draw_row(axes, place: int, row: dict, number: int, reach: float) -> None:
    """Draws one difference with its interval, and arrows where that goes beyond the axis."""
    look = plotting.look(number)
    color = plotting.GRAY if row["verdict"] == "none" else look.color
    told = f"{row['recipe']}: {row['sentence']}".removeprefix(": ")
    if row["low"] is not None:
        low, high = np.clip((row["low"], row["high"]), -reach, reach)
        style = "-" if row["method"] == PAIRED_T else ":"
        say(axes.plot((low, high), (place, place), color=color, linewidth=2.4, linestyle=style)[0], told)
        for end, beyond, marker in ((low, row["low"] < -reach, "<"), (high, row["high"] > reach, ">")):
            if beyond:
                axes.plot(end, place, marker=marker, color=color, markersize=7, clip_on=False)
    say(axes.plot(row["difference"], place, color=color, marker=look.marker, markersize=8, markeredgewidth=1.8,
                  markerfacecolor=color if row["settled"] in ("a", "b") else "white", linestyle="none")[0], told)


def name(row: dict, several: bool) -> str:
    """Returns which two heads a row compares, and where."""
    where = f"{row['arch']}, {row['recipe']}" if several else row["arch"]
    if not where:
        return f"{row['a']}\n- {row['b']}"
    return f"{row['a']} - {row['b']}\n{where}"
