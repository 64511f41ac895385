"""`results.png`: how a run went, epoch by epoch."""

import math

from fasttrain.plotting import BLACK, BLUE, GREEN, ORANGE, label_panel, new_figure, save
from fasttrain.train.rows import best_row

# Line style and marker differ too, for print in black and white.
TRAIN = {"label": "train", "color": BLUE, "linestyle": "-", "marker": "o"}
VAL = {"label": "validation", "color": ORANGE, "linestyle": "--", "marker": "s"}
BEST = {"color": "0.4", "linestyle": ":", "linewidth": 1.4}

PANELS = (
    ("loss", "cross-entropy (nats)", {"train_loss": TRAIN, "val_loss": VAL}),
    ("top-1 accuracy", "%", {"train_top1": TRAIN, "val_top1": VAL}),
    ("top-5 accuracy", "%", {"train_top5": TRAIN, "val_top5": VAL}),
    ("macro-F1", "%", {"val_macro_f1": VAL}),
    ("learning rate", "step size", {"lr": {"color": BLACK, "linestyle": "-", "marker": "."}}),
    ("training speed", "images/s", {"images_per_second": {"color": GREEN, "linestyle": "-", "marker": "D"}}),
)


def draw_results(rows, path, title):
    """Draws the rows of `metrics.jsonl`, at least one, as six panels, 1600 x 960 pixels.

    A curve ends where its rows end and has a gap where a value is NaN; a dotted line marks the best epoch.
    """
    from matplotlib.lines import Line2D

    figure = new_figure(10, 6, title)
    best = best_row(rows)
    for axes, (name, unit, curves) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        draw_panel(axes, rows, curves)
        label_panel(axes, name, unit)
        draw_sizes(axes, rows)
        if best and VAL in curves.values():
            axes.axvline(best["epoch"], **BEST)
    handles = [Line2D([], [], linewidth=1.8, markersize=5, **style) for style in (TRAIN, VAL)]
    if best:
        label = f"best epoch: {best['epoch']}, top-1 {best['val_top1']:.2f} %"
        handles.append(Line2D([], [], label=label, **BEST))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=10, frameon=False)
    save(figure, path)


def draw_sizes(axes, rows):
    """Draws the sizes that the epochs trained at as bands with their pixels, where they differ."""
    sizes = [row.get("train_image_size") for row in rows]
    starts = [i for i in range(len(rows)) if i == 0 or sizes[i] != sizes[i - 1]]
    if len(starts) == 1:
        return
    left, right = axes.get_xlim()
    edges = [left, *(rows[i]["epoch"] - 0.5 for i in starts[1:]), right]
    for number, (start, low, high) in enumerate(zip(starts, edges[:-1], edges[1:], strict=True)):
        if number % 2 == 0:
            axes.axvspan(low, high, color="0.94", zorder=0)
        axes.text((low + high) / 2, 1, f"{sizes[start]} px", transform=axes.get_xaxis_transform(), ha="center",
                  va="bottom", fontsize=7, color="0.35")


def draw_panel(axes, rows, curves):
    """Draws columns of the rows over the epochs; markers thin out where there are many."""
    epochs = [row["epoch"] for row in rows]
    for key, style in curves.items():
        axes.plot(epochs, [row[key] for row in rows], linewidth=1.8, markersize=4,
                  markevery=math.ceil(len(rows) / 12), **style)
    highest = max((row[key] for key in curves for row in rows if math.isfinite(row[key])), default=0)
    if "train_loss" not in curves:
        axes.set_ylim(0, 1.07 * highest or 1)
    elif highest > 100:  # one epoch that blew up would flatten all others
        axes.set_yscale("log")
    margin = min(0.9, max(0.5, 0.03 * (epochs[-1] - epochs[0])))  # below 1: there is no epoch 0
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
