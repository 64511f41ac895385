"""`confusion.png` and `per_class.png`: which classes a run knows, and which it takes for one another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fasttrain.format import short
from fasttrain.plotting import BLUE, DARK, GREEN, ORANGE, draw_bars, dress_panel, new_figure, save, write_cells

PAIRS_SHOWN = 20
NAMED_CLASSES = 30  # more names than that do not fit along an axis
NUMBERED_CLASSES = 12  # nor do more numbers fit into the cells
ENDS = 10  # of many classes, so many of the best and of the worst are named


def confused_pairs(matrix: np.ndarray, count: int = PAIRS_SHOWN) -> list[tuple[int, int, int]]:
    """Returns the most frequent errors in a confusion matrix as (true class, predicted class, images), most first."""
    errors = np.array(matrix)
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, errors.shape), strict=True)
    return [(int(t), int(p), int(errors[t, p])) for t, p in pairs if errors[t, p] > 0]


def class_shares(matrix: np.ndarray, unknown: float = 0.0) -> np.ndarray:
    """Returns each row of a confusion matrix in percent of its images; `unknown` in rows of classes without images."""
    matrix = np.asarray(matrix, dtype=float)
    images = matrix.sum(axis=1, keepdims=True)
    return 100 * np.divide(matrix, images, out=np.full(matrix.shape, unknown), where=images > 0)


def class_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Returns the correct share of each class's images in percent, [classes]; NaN for a class without images."""
    return class_shares(matrix, unknown=np.nan).diagonal()


def draw_confusion(matrix: np.ndarray, class_names: Sequence[str], path: Path, title: str) -> None:
    """Draws a confusion matrix (counts [K, K], a row for each true class) beside its most confused pairs.

    The colours show each row's shares, stretched at the low end, where the errors are.
    """
    figure = new_figure(13, 7, title)
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    draw_matrix(figure, left, class_shares(matrix), class_names)
    pairs = confused_pairs(matrix)
    right.set_title("most confused: true → predicted" if pairs else "no image was confused", fontsize=12)
    if pairs:
        names = [f"{short(class_names[t])} → {short(class_names[p])}" for t, p, _ in pairs]
        counts = [n for _, _, n in pairs]
        draw_bars(right, names, counts, [str(n) for n in counts], unit="validation images", color=ORANGE, room=6)
        right.xaxis.get_major_locator().set_params(nbins=5, integer=True)
    else:
        right.axis("off")
    save(figure, path, dpi=125)


def draw_matrix(figure, axes, shares, class_names):
    """Draws shares in percent with their colour bar; names the classes where there is room for them."""
    from matplotlib.colors import PowerNorm

    image = axes.imshow(shares, cmap="viridis", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("% of the true class", fontsize=10)
    axes.set_xlabel("predicted class", fontsize=11)
    axes.set_ylabel("true class", fontsize=11)
    axes.tick_params(labelsize=9)
    if len(shares) <= NAMED_CLASSES:
        names = [short(name, 20) for name in class_names]
        axes.set_xticks(range(len(names)), names, rotation=90 if len("".join(names)) > 36 else 0, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(shares) <= NUMBERED_CLASSES:
        write_cells(axes, shares, ".0f", bright=45)


def draw_per_class(matrix: np.ndarray, class_names: Sequence[str], path: Path) -> None:
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
    draw_bars(axes, names, values, [f"{value:.1f}" for value in values], unit="top-1 accuracy (%)", color=color, room=6)
    axes.set_xlim(0, 112)


def draw_sorted(figure, names, values):
    """Draws the curve of sorted accuracies beside the best and the worst classes by name."""
    panels = figure.subplot_mosaic([["curve", "best"], ["curve", "worst"]], width_ratios=[1.2, 1])
    curve = panels["curve"]
    ranks = np.arange(1, len(values) + 1)
    curve.fill_between(ranks, values, step="mid", color=BLUE, alpha=0.25)
    curve.step(ranks, values, where="mid", color=BLUE, linewidth=1.5)
    curve.axhline(values.mean(), color=ORANGE, linestyle="--", label=f"mean {values.mean():.1f} %")
    curve.axhline(np.median(values), color=DARK, linestyle=":", label=f"median {np.median(values):.1f} %")
    dress_panel(curve, x="classes, best first", y="top-1 accuracy (%)")
    curve.set(xlim=(1, len(values)), ylim=(0, None))
    curve.legend(fontsize=10)
    for name, part, color in (("best", slice(0, ENDS), GREEN), ("worst", slice(-ENDS, None), ORANGE)):
        panels[name].set_title(f"the {ENDS} {name}", fontsize=11)
        draw_accuracies(panels[name], names[part], values[part], color)
