"""Which classes a study's variants know, and which they take for one another."""

from pathlib import Path

import numpy as np

from fasttrain import plotting
from fasttrain.format import short
from fasttrain.page import say
from fasttrain.runs.sinks.confusion import class_accuracy, class_shares, confused_pairs
from fasttrain.study.analysis.measures import learned_from
from fasttrain.study.plots.variants import Study, Variant, labels, looks, only_finished
from fasttrain.train.metrics import confusion_matrix

NAMED = 20  # more class names than that do not fit along an axis
ENDS = 10  # then so many of the easiest and of the hardest are named
PAIRS = 15


def confusions(study: Study) -> tuple[dict[Variant, np.ndarray], tuple[str, ...]]:
    """Returns confusion matrices (counts, a row for each true class) by Variant, summed over its finished runs, and the
    class names.

    Leaves out runs without predictions or names, and runs of other classes than most have.
    """
    known = [(variant, run, tuple(run.facts.get("class_names", ())))
             for variant, runs in only_finished(study).items() for run in runs if run.predictions is not None]
    counts = [names for _, _, names in known if names]
    if not counts:
        return {}, ()
    classes = max(counts, key=counts.count)
    found = {}
    for variant, run, names in known:
        if names == classes:
            table = run.predictions
            matrix = confusion_matrix(table["label"], table["predicted"], len(classes))
            found[variant] = found.get(variant, 0) + matrix
    return found, classes


def draw_per_class(study: Study, path: Path) -> str | None:
    """Draws the accuracy of every class by every variant; returns the caption, None where no run tells."""
    matrices, classes = confusions(study)
    if not matrices:
        return None
    accuracy = np.array([class_accuracy(matrix) for matrix in matrices.values()])
    order = np.argsort(-np.nan_to_num(accuracy.mean(axis=0)), kind="stable")
    rows = list(labels(matrices).values())
    parts = [("", order)]
    if len(order) > NAMED:
        parts = [(f"all {len(order)} classes, easiest first", order), (f"the {ENDS} easiest", order[:ENDS]),
                 (f"the {ENDS} hardest", order[-ENDS:])]
    band = 1 + 0.3 * len(rows)
    figure = plotting.new_figure(11, 0.6 + (band + 1.3) * len(parts), "top-1 accuracy of each class")
    axes = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for panel, (title, chosen) in zip(axes, parts, strict=True):
        image = panel.imshow(accuracy[:, chosen], cmap="cividis", vmin=0, vmax=100, aspect="auto",
                             interpolation="nearest")
        panel.set_title(title, fontsize=plotting.SIZE)
        panel.set_yticks(range(len(rows)), rows, fontsize=plotting.SIZE)
        panel.set_xticks([])
        if len(chosen) <= NAMED:
            panel.set_xticks(range(len(chosen)), [short(classes[i], 20) for i in chosen], rotation=35, ha="right",
                             fontsize=plotting.SIZE, rotation_mode="anchor", parse_math=False)
            plotting.write_cells(panel, accuracy[:, chosen], ".0f", bright=55)
    figure.colorbar(image, ax=list(axes), pad=0.01, fraction=0.03, label="validation images hit (%)")
    plotting.save_with_svg(figure, path)
    return "The share of each class's validation images that are classified right, over all seeds; easiest class first."


def draw_confused(study: Study, path: Path) -> str | None:
    """Draws the most confused pairs by name; returns the caption, None where no run tells or none was confused."""
    matrices, classes = confusions(study)
    if not matrices:
        return None
    matrices = {variant: matrix for variant, matrix in matrices.items() if has_learned(matrix)} or matrices
    shares = {variant: class_shares(matrix) for variant, matrix in matrices.items()}
    mean = np.mean(list(shares.values()), axis=0)
    pairs = [(true, taken) for true, taken, _ in confused_pairs(np.rint(1e6 * mean), PAIRS)]
    if not pairs:
        return None
    figure = plotting.new_figure(10, 1.6 + 0.36 * len(pairs), "most confused classes")
    axes = figure.subplots()
    plotting.draw_bars(axes, [f"{short(classes[t])} → {short(classes[p])}" for t, p in pairs],
                       [mean[pair] for pair in pairs], unit="share of the true class's images (%)",
                       color=plotting.PALE, label="mean")
    names, styles = labels(matrices), looks(matrices)
    lanes = np.linspace(-0.25, 0.25, len(shares)) if len(shares) > 1 else [0.0]  # so that no marker hides another
    for lane, (variant, share) in zip(lanes, shares.items(), strict=True):
        values = [share[pair] for pair in pairs]
        line, = axes.plot(values, np.arange(len(pairs)) + lane, label=names[variant], markersize=6.5,
                          **styles[variant].markers)
        say(line, names[variant])
    axes.grid(axis="x", color=plotting.PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1.05 * axes.dataLim.x1)
    handles = sorted(axes.get_legend_handles_labels()[0], key=lambda handle: handle.get_label() == "mean")
    plotting.legend_below(figure, handles)
    plotting.save_with_svg(figure, path)
    return (f"The {len(pairs)} most frequent errors (true class → predicted class) as a share of the true class's "
            f"validation images, over all seeds, of variants from {learned_from(len(classes)):.3g} % top-1 on.")


def has_learned(matrix: np.ndarray) -> bool:
    """Whether a confusion matrix tells more than chance: the errors of a variant that guesses say nothing."""
    return 100 * matrix.trace() / matrix.sum() >= learned_from(len(matrix))
