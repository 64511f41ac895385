"""`results.png`: how a run went, epoch by epoch."""

import math
from collections.abc import Sequence
from pathlib import Path

from fasttrain.plotting import DARK, draw_size_bands, dress_panel, handle, legend_below, look, new_figure, save
from fasttrain.train.rows import best_row

TRAIN, VAL, ALONE = look(0), look(1), look(2)._replace(linestyle="-")
BEST = {"color": DARK, "linestyle": ":", "linewidth": 1.4}

# (title, unit, the columns of the rows and their looks)
PANELS = (
    ("loss", "cross-entropy (nats)", {"train_loss": TRAIN, "val_loss": VAL}),
    ("top-1 accuracy", "%", {"train_top1": TRAIN, "val_top1": VAL}),
    ("top-5 accuracy", "%", {"train_top5": TRAIN, "val_top5": VAL}),
    ("macro-F1", "%", {"val_macro_f1": VAL}),
    ("learning rate", "step size", {"lr": ALONE}),
    ("training speed", "images/s", {"images_per_second": ALONE}),
)


def draw_results(rows: Sequence[dict], path: Path, title: str, rates: Sequence[tuple[float, float]] = ()) -> None:
    """Draws the rows of `metrics.jsonl`, at least one, as six panels, 1600 x 960 pixels.

    A curve ends where its rows end and has a gap where a value is NaN; a dotted line marks the best epoch. rates: the
    learning rate over the epochs done, as (epochs, rate), in place of the rows' own, which stand at the ends of epochs.
    """
    figure = new_figure(10, 6, title)
    best = best_row(rows)
    for axes, (name, unit, curves) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        draw_curves(axes, rows, curves)
        if "lr" in curves and rates:
            draw_rates(axes, rates, curves["lr"])
        dress_panel(axes, name, "epoch", unit)
        draw_size_bands(axes, rows)
        if best and VAL in curves.values():
            axes.axvline(best["epoch"], **BEST)
    handles = [handle(name, linewidth=1.8, markersize=5, **style.markers | style.line)
               for name, style in (("train", TRAIN), ("validation", VAL))]
    if best:
        handles.append(handle(f"best epoch: {best['epoch']}, top-1 {best['val_top1']:.2f} %", **BEST))
    legend_below(figure, handles)
    save(figure, path)


def draw_rates(axes, rates, style):
    """Draws the learning rate step by step in place of the curve that is there, from 0 epochs on."""
    axes.lines[0].remove()
    axes.plot(*zip(*rates, strict=True), linewidth=1.8, **style.line)
    axes.set_ylim(0, 1.07 * max(rate for _, rate in rates) or 1)
    axes.set_xlim(0, axes.get_xlim()[1])


def draw_curves(axes, rows, curves):
    """Draws columns of the rows over the epochs; markers thin out where there are many."""
    epochs = [row["epoch"] for row in rows]
    for key, style in curves.items():
        axes.plot(epochs, [row[key] for row in rows], linewidth=1.8, markersize=4,
                  markevery=math.ceil(len(rows) / 12), **style.markers | style.line)
    highest = max((row[key] for key in curves for row in rows if math.isfinite(row[key])), default=0)
    if "train_loss" not in curves:
        axes.set_ylim(0, 1.07 * highest or 1)
    elif highest > 100:  # one epoch that blew up would flatten all others
        axes.set_yscale("log")
    margin = min(0.9, max(0.5, 0.03 * (epochs[-1] - epochs[0])))  # below 1: there is no epoch 0
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
