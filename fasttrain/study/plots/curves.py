"""Curves over the epochs of a study: a column for each backbone, a thin line for each seed, the mean bold."""

import math

import numpy as np
from matplotlib.lines import Line2D

from fasttrain.plotting import label_panel, new_figure, save
from fasttrain.study.plots.variants import finished, mean_rows, only_finished, panels, rows_legend

STEP_TAG = "steps/train_loss"
SEED = {"linewidth": 0.8, "alpha": 0.55}
MEAN = {"linewidth": 2.4}
BLOWN_UP = 5  # times the median: a loss above it wants a logarithmic scale
LINES = "Thin: single seeds; bold: their mean. Runs that did not finish are thin and enter no mean."


def draw_train_loss(study, path):
    """Draws the loss of single steps, of one seed, above the mean of each epoch; returns the caption."""
    figure, axes = grid(study, 2, "training loss")
    for (name, part), (raw, smooth) in zip(panels(study), axes, strict=True):
        for variant, runs in part.items():
            raw.plot(*step_losses(runs[0]), linewidth=0.7, alpha=0.8, **variant.line | {"linestyle": "-"})
            draw_seeds(smooth, variant, runs, "train_loss")
        label_panel(raw, f"{name}\nraw: single steps of one seed", "cross-entropy (nats)")
        label_panel(smooth, f"{name}\nsmoothed: mean of each epoch", "cross-entropy (nats)")
    finish(figure, study, axes, path)
    return ("Above: the loss of single training steps of each variant's first seed, as many as its event files hold. "
            "Below, smoothed: the mean over all steps of each epoch. Label smoothing is part of this loss where the "
            f"recipe has it. {LINES}")


def draw_val_loss(study, path):
    """Draws the validation loss with the minimum of each mean; returns the caption."""
    figure, axes = grid(study, 1, "validation loss")
    for (name, part), (panel,) in zip(panels(study), axes, strict=True):
        for variant, runs in part.items():
            draw_seeds(panel, variant, runs, "val_loss")
        for variant, runs in only_finished(part).items():
            epochs, mean = mean_rows(runs, "val_loss")
            lowest = int(np.argmin(mean))
            panel.plot(epochs[lowest], mean[lowest], markersize=8, markeredgecolor="white", zorder=5,
                       **variant.marker | {"fillstyle": "full"})
        label_panel(panel, name, "cross-entropy (nats)")
    finish(figure, study, axes, path)
    return ("Validation loss by epoch; a marker shows the minimum of each mean. A rise after it is over-fitting. "
            f"{LINES}")


def draw_accuracy(column, name):
    """A drawing function for a column that exists for training and validation, such as "top1"."""
    def draw(study, path):
        figure, axes = grid(study, 2, f"{name} accuracy")
        for (title, part), (train, val) in zip(panels(study), axes, strict=True):
            for variant, runs in part.items():
                draw_seeds(train, variant, runs, f"train_{column}")
                draw_seeds(val, variant, runs, f"val_{column}")
            label_panel(train, f"{title}: training", f"{name} (%)")
            label_panel(val, f"{title}: validation", f"{name} (%)")
        finish(figure, study, axes, path, share=range(2))
        return f"{name} accuracy by epoch: above on the training images while learning, below in validation. {LINES}"
    return draw


def draw_macro_f1(study, path):
    """Draws the macro-averaged F1; returns the caption."""
    figure, axes = grid(study, 1, "macro-F1 on the validation images")
    for (name, part), (panel,) in zip(panels(study), axes, strict=True):
        for variant, runs in part.items():
            draw_seeds(panel, variant, runs, "val_macro_f1")
        label_panel(panel, name, "macro-F1 (%)")
    finish(figure, study, axes, path)
    return f"Mean over the classes of F1, the harmonic mean of a class's precision and recall, by epoch. {LINES}"


def grid(study, quantities, title):
    """A figure and its axes, a list of `quantities` axes for each panel: up to three panels side by side."""
    count = len(panels(study))
    columns = count if count <= 3 else 2 if count == 4 else 3
    bands = math.ceil(count / columns)
    figure = new_figure(max(6.4, 4.4 * columns), 0.9 + 2.9 * quantities * bands, title)
    every = figure.subplots(bands * quantities, columns, squeeze=False)
    for empty in range(count, bands * columns):
        for quantity in range(quantities):
            every[quantities * (empty // columns) + quantity, empty % columns].axis("off")
    return figure, [[every[quantities * (i // columns) + q, i % columns] for q in range(quantities)]
                    for i in range(count)]


def draw_seeds(axes, variant, runs, key):
    """Draws a column of every run, each to where it ended, and the mean of the finished ones."""
    ended = finished(runs)
    for run in runs if runs != ended[:1] else ():
        axes.plot([row["epoch"] for row in run.rows], [row[key] for row in run.rows], **variant.line | SEED)
    if ended:
        axes.plot(*mean_rows(ended, key), **variant.line, **MEAN)


def finish(figure, study, axes, path, share=None):
    """Gives every panel of a quantity one scale, the figure its legend, and saves it.

    share: the places of the quantities that share one scale; each has its own without it.
    """
    for places in [list(share)] if share else [[place] for place in range(len(axes[0]))]:
        equal_scales([panel[place] for panel in axes for place in places])
    heads = {variant.head: variant for variant in study}
    handles = [Line2D([], [], label=head, **variant.line, **MEAN) for head, variant in heads.items()]
    if any(len(runs) > 1 or not finished(runs) for runs in study.values()):
        handles += [Line2D([], [], color="0.3", label="one seed", **SEED),
                    Line2D([], [], color="0.3", label="mean of the finished seeds", **MEAN)]
    rows_legend(figure, handles, columns=3 if figure.get_figwidth() < 8 else 5)
    save(figure, path)


def equal_scales(axes):
    """Gives panels one vertical scale; logarithmic where a few values that blew up would flatten all others."""
    values = np.concatenate([line.get_ydata() for panel in axes for line in panel.lines] or [[]]).astype(float)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    blown_up = values.max() > BLOWN_UP * np.median(values) and values.min() > 0
    logarithmic = blown_up and "(%)" not in axes[0].get_ylabel()
    margin = 0.05 * (values.max() - values.min()) or 0.5
    for panel in axes:
        panel.set_yscale("log" if logarithmic else "linear")
        panel.set_ylim(*((values.min() / 1.3, values.max() * 1.3) if logarithmic else
                         (max(0, values.min() - margin), values.max() + margin)))


def step_losses(run):
    """Epochs passed and the training loss of single steps, from the run's event files; empty where there are none."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    losses, last = {}, run.rows[-1]
    for path in sorted((run.folder / "tb").glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag == STEP_TAG:
                    losses[event.step] = value.simple_value
    steps = np.array(sorted(step for step in losses if step <= last["step"]))
    return steps / (last["step"] / last["epoch"]), np.array([losses[step] for step in steps])
