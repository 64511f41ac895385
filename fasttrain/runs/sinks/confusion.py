"""`train_batch.png`, `confusion.png`, `per_class.png`, and mosaics of a split."""

import numpy as np

from fasttrain.format import short
from fasttrain.plotting import BLUE, GREEN, ORANGE, new_figure, save

PAIRS_SHOWN = 20
NAMED_CLASSES = 30  # more names than that do not fit along an axis
NUMBERED_CLASSES = 12  # nor do more numbers fit into the cells


def confused_pairs(matrix, count=PAIRS_SHOWN):
    """The most frequent errors in a confusion matrix as (true class, predicted class, images), most first."""
    errors = np.array(matrix)
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, errors.shape), strict=True)
    return [(int(t), int(p), int(errors[t, p])) for t, p in pairs if errors[t, p] > 0]


def class_accuracy(matrix):
    """Correct share of each class's images in percent, float `[classes]`; NaN for a class without images."""
    matrix = np.asarray(matrix, dtype=float)
    images = matrix.sum(axis=1)
    return 100 * np.divide(matrix.diagonal(), images, out=np.full(len(images), np.nan), where=images > 0)


def draw_confusion(matrix, class_names, path, title):
    """Draws a confusion matrix (counts `[K, K]`, a row for each true class) beside its most confused pairs.

    The colours show each row's shares, stretched at the low end, where the errors are.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(13, 7, title)
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    draw_matrix(figure, left, np.asarray(matrix), class_names)
    pairs = confused_pairs(matrix)
    right.set_title("most confused: true → predicted" if pairs else "no image was confused", fontsize=12)
    if pairs:
        names = [f"{short(class_names[t])} → {short(class_names[p])}" for t, p, _ in pairs]
        draw_bars(right, names, [n for _, _, n in pairs], ORANGE, "validation images")
        right.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    else:
        right.axis("off")
    save(figure, path, dpi=125)


def draw_matrix(figure, axes, matrix, class_names):
    """Draws the matrix with its colour bar; names the classes where there is room for them."""
    from matplotlib.colors import PowerNorm

    images = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(100 * matrix, images, out=np.zeros(matrix.shape), where=images > 0)
    image = axes.imshow(shares, cmap="viridis", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("% of the true class", fontsize=10)
    axes.set_xlabel("predicted class", fontsize=11)
    axes.set_ylabel("true class", fontsize=11)
    axes.tick_params(labelsize=9)
    if len(matrix) <= NAMED_CLASSES:
        names = [short(name, 20) for name in class_names]
        axes.set_xticks(range(len(names)), names, rotation=90 if len("".join(names)) > 36 else 0, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(matrix) <= NUMBERED_CLASSES:
        for (row, column), share in np.ndenumerate(shares):
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=9,
                      color="black" if share > 45 else "white")


def draw_bars(axes, names, values, color, label, form="{:.0f}"):
    """Draws named horizontal bars, the first on top, each with its value."""
    bars = axes.barh(range(len(names)), values, color=color, height=0.7)
    axes.bar_label(bars, [form.format(value) for value in values], padding=3, fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    axes.set_ylim(max(len(names), 6) - 0.4, -0.6)
    axes.set_xlabel(label, fontsize=10)
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)


def draw_per_class(matrix, class_names, path):
    """Draws the accuracy of each class: every one by name where they fit, else the sorted curve and both ends of it."""
    accuracy = class_accuracy(matrix)
    order = [i for i in np.argsort(-accuracy, kind="stable") if not np.isnan(accuracy[i])]
    names, values = [short(class_names[i]) for i in order], accuracy[order]
    few = len(order) <= NAMED_CLASSES
    title = "validation accuracy by class, " + (f"mean {values.mean():.1f} %" if len(values) else "no images")
    figure = new_figure(8, 1.5 + 0.22 * max(len(order), 6), title) if few else new_figure(11, 5.6, title)
    if few:
        draw_accuracies(figure.subplots(), names, values, BLUE)
    else:
        draw_sorted(figure, names, values)
    save(figure, path, dpi=140)


def draw_accuracies(axes, names, values, color):
    """Draws named bars on a scale that all such pictures share."""
    draw_bars(axes, names, values, color, "top-1 accuracy (%)", "{:.1f}")
    axes.set_xlim(0, 112)


def draw_sorted(figure, names, values):
    """Draws the curve of sorted accuracies beside the ten best and the ten worst classes by name."""
    panels = figure.subplot_mosaic([["curve", "best"], ["curve", "worst"]], width_ratios=[1.2, 1])
    curve = panels["curve"]
    ranks = np.arange(1, len(values) + 1)
    curve.fill_between(ranks, values, step="mid", color=BLUE, alpha=0.25)
    curve.step(ranks, values, where="mid", color=BLUE, linewidth=1.5)
    curve.axhline(values.mean(), color=ORANGE, linestyle="--", label=f"mean {values.mean():.1f} %")
    curve.axhline(np.median(values), color="0.3", linestyle=":", label=f"median {np.median(values):.1f} %")
    curve.set(xlim=(1, len(values)), ylim=(0, None), xlabel="classes, best first", ylabel="top-1 accuracy (%)")
    curve.grid(color="0.9")
    curve.legend(fontsize=10)
    for name, part, color in (("best", slice(0, 10), GREEN), ("worst", slice(-10, None), ORANGE)):
        panels[name].set_title(f"the ten {name}", fontsize=11)
        draw_accuracies(panels[name], names[part], values[part], color)
