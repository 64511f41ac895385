"""Figures that look alike: colours, frame, PNG. matplotlib is imported on first use."""

import warnings

# Okabe and Ito's colours, which colour-blind readers can tell apart: jfly.uni-koeln.de/color
BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"


def new_figure(width, height, title):
    """A matplotlib figure of that many inches with a title and a margin; no global state is touched."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure


def save(figure, path, dpi=160):
    """Writes a matplotlib figure as PNG, without a time or version in it. Letters that no font has become boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})


def label_panel(axes, name, unit):
    """Gives a panel its title, units and ticks."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(name, fontsize=11, pad=12)
    axes.set_xlabel("epoch", fontsize=10)
    axes.set_ylabel(unit, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if unit == "images/s":
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelsize=9)
    axes.grid(color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
