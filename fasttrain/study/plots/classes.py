"""Which classes a study's variants know, and which they take for one another."""

import numpy as np

from fasttrain.format import short
from fasttrain.plotting import new_figure, save
from fasttrain.runs.sinks.confusion import class_accuracy, confused_pairs
from fasttrain.study.analysis.compare import TIMES_CHANCE
from fasttrain.study.plots.variants import labels, only_finished, rows_legend
from fasttrain.train.metrics import confusion_matrix

NAMED = 20  # more class names than that do not fit along an axis
ENDS = 10  # then so many of the easiest and of the hardest are named
PAIRS = 15


def confusions(study):
    """Confusion matrices (counts, a row for each true class) by Variant, summed over the finished runs; class names.

    Runs without predictions or names are left out, and so are those of other classes than most runs have.
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


def draw_per_class(study, path):
    """Draws the accuracy of every class by every variant; returns the caption, None where no run tells."""
    matrices, classes = confusions(study)
    if not matrices:
        return None
    accuracy = np.array([class_accuracy(matrix) for matrix in matrices.values()])
    order = np.argsort(-np.nan_to_num(accuracy.mean(axis=0)), kind="stable")
    rows = list(labels(matrices).values())
    names = [short(name, 20) for name in classes]
    parts = [("", order)]
    if len(order) > NAMED:
        parts = [(f"all {len(order)} classes, easiest first", order), (f"the {ENDS} easiest", order[:ENDS]),
                 (f"the {ENDS} hardest", order[-ENDS:])]
    band = 1 + 0.3 * len(rows)
    figure = new_figure(11, 0.6 + (band + 1.3) * len(parts), "top-1 accuracy of each class")
    axes = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for panel, (title, chosen) in zip(axes, parts, strict=True):
        image = panel.imshow(accuracy[:, chosen], cmap="cividis", vmin=0, vmax=100, aspect="auto",
                             interpolation="nearest")
        panel.set_title(title, fontsize=11)
        panel.set_yticks(range(len(rows)), rows, fontsize=9)
        panel.set_xticks([])
        if len(chosen) <= NAMED:
            panel.set_xticks(range(len(chosen)), [names[i] for i in chosen], rotation=35, ha="right", fontsize=9,
                             rotation_mode="anchor", parse_math=False)
            write_numbers(panel, accuracy[:, chosen])
    figure.colorbar(image, ax=list(axes), pad=0.01, fraction=0.03, label="validation images hit (%)")
    save(figure, path)
    return ("Share of each class's validation images that are classified right, over all seeds; easiest class on the "
            "left.")


def write_numbers(axes, values):
    """Writes values in percent into the cells of a heat map."""
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, "-" if np.isnan(value) else f"{value:.0f}", ha="center", va="center", fontsize=9,
                  color="black" if value > 55 else "white")


def draw_confused(study, path):
    """Draws the most confused pairs by name; returns the caption, None where no run tells or none was confused."""
    matrices, classes = confusions(study)
    if not matrices:
        return None
    matrices = {variant: matrix for variant, matrix in matrices.items() if has_learned(matrix)} or matrices
    shares = {variant: shares_of(matrix) for variant, matrix in matrices.items()}
    mean = np.mean(list(shares.values()), axis=0)
    pairs = [(true, taken) for true, taken, _ in confused_pairs(np.rint(1e6 * mean), PAIRS)]
    if not pairs:
        return None
    figure = new_figure(10, 1.6 + 0.36 * len(pairs), "most confused classes")
    axes = figure.subplots()
    axes.barh(range(len(pairs)), [mean[pair] for pair in pairs], height=0.7, color="0.88", zorder=0, label="mean")
    for (variant, share), name in zip(shares.items(), labels(matrices).values(), strict=True):
        axes.plot([share[pair] for pair in pairs], range(len(pairs)), linestyle="none", markersize=6.5, label=name,
                  **variant.marker)
    axes.set_yticks(range(len(pairs)), [f"{short(classes[t])} → {short(classes[p])}" for t, p in pairs], fontsize=9,
                    parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("share of the true class's images (%)", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    handles = sorted(axes.get_legend_handles_labels()[0], key=lambda handle: handle.get_label() == "mean")
    rows_legend(figure, handles)
    save(figure, path)
    return (f"The {len(pairs)} most frequent errors (true class → predicted class), as a share of the true class's "
            f"validation images, over all seeds, of variants above {TIMES_CHANCE} x chance.")


def has_learned(matrix):
    """Whether a confusion matrix tells more than chance: the errors of a variant that guesses say nothing."""
    return matrix.trace() / matrix.sum() >= TIMES_CHANCE / len(matrix)


def shares_of(matrix):
    """Each row of a confusion matrix in percent of its images."""
    images = matrix.sum(axis=1, keepdims=True)
    return np.divide(100 * matrix, images, out=np.zeros(matrix.shape), where=images > 0)
