"""Curves over the epochs of a study: a column for each backbone, a thin line for each seed, the mean bold."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fasttrain import plotting
from fasttrain.format import count
from fasttrain.page import say
from fasttrain.runs.run import Run
from fasttrain.runs.sinks.tensorboard import event_folder
from fasttrain.study.plots.variants import Study, Variant, finished, mean_rows, only_finished, panels

STEP_TAG = "steps/train_loss"
SEED = {"linewidth": 0.8, "alpha": 0.55}
MEAN = {"linewidth": 2.4}
BLOWN_UP = 5  # times the median: a loss above it wants a logarithmic scale
LONG = 18  # letters of a name, of which three stand beside each other in a legend
LINES = "Thin lines are single seeds, bold lines their mean. Runs that did not finish are thin and enter no mean."
NATS = "cross-entropy (nats)"


def draw_train_loss(study: Study, path: Path) -> str:
    """Draws the mean loss of each epoch, below that of single steps where event files hold it; returns the caption."""
    steps = {variant: step_losses(runs[0]) for variant, runs in study.items()}
    kinds = 2 if any(len(losses) for _, losses in steps.values()) else 1
    figure, axes = grid(study, kinds, "training loss")
    for (name, part), (*above, means) in zip(panels(study), axes, strict=True):
        draw_column(means, part, "train_loss")
        plotting.dress_panel(means, f"{name}\nmean of each epoch".strip(), "epoch", NATS)
        for raw in above:
            for variant in part:
                line, = raw.plot(*steps[variant], color=variant.look.color, linewidth=0.7, alpha=0.8)
                say(line, f"{variant.head}, seed {study[variant][0].config.seed}")
            plotting.dress_panel(raw, f"{name}\nsingle steps of one seed".strip(), "epoch", NATS)
    finish(figure, study, axes, path)
    told = "Top: the loss of single training steps of each variant's first seed. Bottom: the" if kinds == 2 else "The"
    return (f"{told} mean loss over all training steps of each epoch. Where the recipe smooths labels, this loss "
            f"includes it. {LINES}")


def draw_val_loss(study: Study, path: Path) -> str:
    """Draws the validation loss with the minimum of each mean; returns the caption."""
    figure, axes = grid(study, 1, "validation loss")
    for (name, part), (panel,) in zip(panels(study), axes, strict=True):
        draw_column(panel, part, "val_loss")
        for variant, runs in only_finished(part).items():
            epochs, mean = mean_rows(runs, "val_loss")
            lowest = int(np.argmin(mean))
            panel.plot(epochs[lowest], mean[lowest], markersize=8, markeredgecolor="white", zorder=5,
                       **variant.look.markers | {"fillstyle": "full"})
        plotting.dress_panel(panel, name, "epoch", NATS)
    finish(figure, study, axes, path)
    return f"Validation loss by epoch. A marker shows where each mean is lowest; a later rise is overfitting. {LINES}"


def draw_accuracy(column: str, name: str, study: Study, path: Path) -> str:
    """Draws train_`column` above val_`column`, percentages called `name`; returns the caption."""
    figure, axes = grid(study, 2, f"{name} accuracy")
    for (title, part), pair in zip(panels(study), axes, strict=True):
        for panel, split, told in zip(pair, ("train", "val"), ("training", "validation"), strict=True):
            draw_column(panel, part, f"{split}_{column}")
            plotting.dress_panel(panel, f"{title}: {told}" if title else told, "epoch", f"{name} (%)")
    finish(figure, study, axes, path, one_scale=True)
    return f"{name.capitalize()} by epoch. Top: on the training images, while learning. Bottom: in validation. {LINES}"


def draw_macro_f1(study: Study, path: Path) -> str:
    """Draws the macro-averaged F1; returns the caption."""
    figure, axes = grid(study, 1, "macro-F1 on the validation images")
    for (name, part), (panel,) in zip(panels(study), axes, strict=True):
        draw_column(panel, part, "val_macro_f1")
        plotting.dress_panel(panel, name, "epoch", "macro-F1 (%)")
    finish(figure, study, axes, path)
    return f"F1, the harmonic mean of a class's precision and recall, averaged over the classes, by epoch. {LINES}"


def grid(study: Study, quantities: int, title: str) -> tuple:
    """Returns a figure and the `quantities` axes of each panel; up to three panels lie side by side."""
    count = len(panels(study))
    columns = count if count <= 3 else 2 if count == 4 else 3
    bands = math.ceil(count / columns)
    figure = plotting.new_figure(max(6.4, 4.4 * columns), 0.9 + 2.9 * quantities * bands, title)
    every = figure.subplots(bands * quantities, columns, squeeze=False)
    places = every.reshape(bands, quantities, columns).swapaxes(1, 2).reshape(-1, quantities)
    for axes in places[count:].flat:
        axes.axis("off")
    return figure, places[:count].tolist()


def draw_column(axes, part: Study, key: str) -> None:
    """Draws a column of every run of each variant, each to where it ended, and the mean of the finished ones."""
    for variant, runs in part.items():
        ended = finished(runs)
        for run in runs if runs != ended[:1] else ():
            values = [row[key] for row in run.rows]
            line, = axes.plot([row["epoch"] for row in run.rows], values, **variant.look.line, **SEED)
            say(line, f"{variant.head}, seed {run.config.seed}: {values[-1]:.4g} at the end")
        if ended:
            epochs, mean = mean_rows(ended, key)
            line, = axes.plot(epochs, mean, **variant.look.line, **MEAN)
            say(line, f"{variant.head}, mean of {count(len(ended), 'seed')}: {mean[-1]:.4g} at the end")


def finish(figure, study: Study, axes: Sequence, path: Path, one_scale: bool = False) -> None:
    """Gives every quantity one scale, or all of them the same one, draws size bands and the legend, and saves."""
    quantities = list(zip(*axes, strict=True))
    for same in [sum(quantities, ())] if one_scale else quantities:
        equal_scales(same)
    for (_, part), own in zip(panels(study), axes, strict=True):
        longest = max((run.rows for runs in part.values() for run in runs), key=len)
        for panel in own:
            plotting.draw_size_bands(panel, longest)
    heads: dict[str, Variant] = {variant.head: variant for variant in study}
    handles = [plotting.handle(head, **variant.look.line, **MEAN) for head, variant in heads.items()]
    if any(len(runs) > 1 or not finished(runs) for runs in study.values()):
        handles += [plotting.handle("one seed", color=plotting.DARK, **SEED),
                    plotting.handle("mean of the finished seeds", color=plotting.DARK, **MEAN)]
    plotting.legend_below(figure, handles, columns=2 if max(map(len, heads)) > LONG else
                          3 if figure.get_figwidth() < 8 else 5)
    plotting.save_with_svg(figure, path)


def equal_scales(axes: Sequence) -> None:
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


def step_losses(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns epochs passed and the training loss of single steps from the run's event files; empty without any."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    losses, last = {}, run.rows[-1]
    for path in sorted(event_folder(run.folder).glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag == STEP_TAG:
                    losses[event.step] = value.simple_value
    steps = np.array(sorted(step for step in losses if step <= last["step"]))
    return steps / (last["step"] / last["epoch"]), np.array([losses[step] for step in steps])
