"""The one picture toolkit: how series look, panels, bars, bands, legends, PNG files. matplotlib loads on first use."""

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from fasttrain.page import svg
from fasttrain.storage import write_atomically

# Okabe and Ito's colours, which colour-blind readers can tell apart: jfly.uni-koeln.de/color
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
AMBER, SKY, YELLOW, BLACK = "#E69F00", "#56B4E9", "#F0E442", "#000000"
DARK, GRAY, PALE = "0.35", "0.6", "0.88"  # text and single marks, what stands back, grid lines

ON_BRIGHT, ON_DARK = "#0a0a0a", "#fafafa"  # text in coloured cells, which a page in dark mode leaves as it is
SIZE = 10  # of all text, in points

# What tells series apart, in the order in which they are given out, each enough on its own in black and white.
COLORS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, BLACK)
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", "h", ">", "*", "d", "H")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
FILLS = ("full", "none", "left", "bottom", "right", "top")


class Look(NamedTuple):
    """How a series looks. fill: how much of its markers is filled."""

    color: str
    linestyle: str | tuple
    marker: str
    hatch: str
    fill: str

    @property
    def line(self) -> dict[str, Any]:
        """Keywords for a line without markers."""
        return {"color": self.color, "linestyle": self.linestyle}

    @property
    def markers(self) -> dict[str, Any]:
        """Keywords for markers without a line."""
        return {"color": self.color, "linestyle": "none", "marker": self.marker, "fillstyle": self.fill,
                "markerfacecoloralt": "white"}

    @property
    def bar(self) -> dict[str, Any]:
        """Keywords for bars."""
        return {"color": self.color, "hatch": self.hatch, "edgecolor": "white"}


def look(place: int, group: int = 0) -> Look:
    """Returns the look of series number `place` from 0; `group` picks the filling of its markers.

    No two of the first 14 places share a marker, and no two of the first 42 colour and line.
    """
    return Look(COLORS[place % len(COLORS)], LINES[place % len(LINES)], MARKERS[place % len(MARKERS)],
                HATCHES[place % len(HATCHES)], FILLS[group % len(FILLS)])


def new_figure(width: float, height: float, title: str):
    """Returns a matplotlib figure of that many inches with a title and a margin; touches no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    figure.suptitle(title, fontsize=SIZE, fontweight="bold")
    return figure


def save(figure, path, dpi: int = 160) -> None:
    """Writes a figure as PNG, without a time or version in it. Letters that no font has become boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})


def save_with_svg(figure, path) -> None:
    """Writes a figure as PNG, and beside it as the SVG that a page shows."""
    save(figure, path)
    figure.set_layout_engine("none")  # everything has its place now
    write_atomically(path.with_suffix(".svg"), svg(figure, path.stem))


def dress_panel(axes, title: str = "", x: str = "", y: str = "", grid: str | None = "both") -> None:
    """Gives a panel its title, labels, ticks and grid: "both", "x", "y" or None. An x of "epoch" has whole numbers."""
    from matplotlib.ticker import MaxNLocator

    if title:
        axes.set_title(title, fontsize=SIZE, pad=12)
    axes.set_xlabel(x, fontsize=SIZE)
    axes.set_ylabel(y, fontsize=SIZE)
    axes.tick_params(labelsize=SIZE)
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    for label, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if label.startswith("images/s"):
            axis.set_major_formatter("{x:,.0f}")
    if grid:
        axes.grid(axis=grid, color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_bars(axes, names: Sequence[str], values: Sequence[float], texts: Sequence[str] = (), *, unit: str = "",
              whiskers: Sequence | None = None, log: bool = False, room: int = 1, **style: Any) -> None:
    """Draws named horizontal bars from 0, the first on top, each with its text behind it.

    whiskers: how far the lowest and the highest measurement lie from each value, [2][bars]. log: a logarithmic axis
    that starts below the shortest bar. room: leaves place for that many bars. style: keywords of `Axes.barh` such as
    color and hatch, one or one for each bar.
    """
    places = range(len(names))
    axes.barh(places, values, xerr=whiskers, height=0.7, capsize=3, log=log, **style)
    ends = [value + high for value, high in zip(values, whiskers[1], strict=True)] if whiskers else values
    for place, end, text in zip(places, ends, texts, strict=False):
        axes.annotate(text, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=SIZE,
                      parse_math=False)
    dress_panel(axes, x=unit, grid=None)
    axes.set_yticks(places, names, fontsize=SIZE, parse_math=False)
    axes.set_ylim(max(len(names), room) - 0.4, -0.6)
    if log:
        axes.set_xlim(min(values) / 10, max(values) * (10 * max(values) / min(values)) ** 0.5)  # room for the texts
        axes.xaxis.set_minor_formatter("")  # on a short axis its numbers print over one another
    else:
        axes.set_xlim(0, 1.14 * max(ends, default=0) or 1)


def draw_size_bands(axes, rows: Sequence[dict]) -> None:
    """Draws bands behind the epochs of `rows`, one for each image size they trained at, with its pixels above.

    Draws nothing where the size never changes. The panel's x axis counts epochs and has its limits already.
    """
    sizes = [row.get("train_image_size") for row in rows]
    starts = [i for i in range(len(rows)) if i == 0 or sizes[i] != sizes[i - 1]]
    if len(starts) < 2:
        return
    left, right = axes.get_xlim()
    edges = [left, *(rows[i]["epoch"] - 0.5 for i in starts[1:]), right]
    for number, (start, (low, high)) in enumerate(zip(starts, pairwise(edges), strict=True)):
        if number % 2 == 0:
            axes.axvspan(low, high, color="0.94", zorder=0)
        axes.text((low + high) / 2, 1, f"{sizes[start]} px", transform=axes.get_xaxis_transform(), ha="center",
                  va="bottom", fontsize=7, color=DARK)
    axes.set_xlim(left, right)


def write_cells(axes, values, form: str, bright: float) -> None:
    """Writes the values of a heat map into its cells: black on those above `bright`, white on the others."""
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            axes.text(column, row, "-" if math.isnan(value) else format(value, form), ha="center", va="center",
                      fontsize=SIZE, color=ON_BRIGHT if value > bright else ON_DARK)


def handle(label: str, **style):
    """Returns what a legend shows for `label`, drawn with keywords for a line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **style)


def legend_below(figure, handles: Sequence, columns: int = 3, fontsize: int = SIZE) -> None:
    """Draws a legend below all panels that reads row by row, where matplotlib's own goes column by column."""
    columns = max(1, min(columns, len(handles)))
    order = [handle for column in range(columns) for handle in handles[column::columns]]
    figure.legend(handles=order, loc="outside lower center", ncols=columns, fontsize=fontsize, frameon=False,
                  handlelength=3)
