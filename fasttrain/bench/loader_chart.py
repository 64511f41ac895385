"""The result of `bench loader` as a table and as a picture."""

from fasttrain.observe.text import size
from fasttrain.report.curves import BLUE, ORANGE, new_figure, save

BAR_INCHES, PANEL_INCHES = 0.36, 0.9


def render(result):
    """A rich renderable: a table of the rows with numbers, then the notes."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("loader", "augment", "batch", "images/s", "min - max", "CPU us", "build", "memory"):
        table.add_column(name, justify="left" if name in ("loader", "augment") else "right", no_wrap=True)
    for row in measured(result):
        speed = row["images_per_second"]
        table.add_row(row["loader"], row["augment"], str(row["batch_size"]), number(speed["median"]),
                      f"{number(speed['min'])} - {number(speed['max'])}", number(row["cpu_us_per_image"]),
                      f"{row['build_seconds']:.1f} s", size(row["peak_rss_bytes"]))
    notes = dict.fromkeys(row["note"] for row in result["rows"] if row["note"])
    return Group(table, *map(Text, notes))


def measured(result):
    """The rows that have numbers."""
    return [row for row in result["rows"] if row["images_per_second"]["median"] is not None]


def number(value):
    """A positive number with three digits: 0.00031, 3.42, 51.3, 16.7k, 2.89G."""
    for unit in ("", "k", "M"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}G"


def draw(result, path):
    """Draws speed and CPU time of each loader into a PNG, a pair of panels for each augmentation and batch size.

    Axes are logarithmic, because loaders differ by orders of magnitude; whiskers span the repeats.
    """
    groups = {}
    for row in measured(result):
        title = f"augment {row['augment']}, batch size {row['batch_size']}, {row['device']}"
        groups.setdefault(title, []).append(row)
    bars = [len(rows) for rows in groups.values()]
    height = 0.7 + PANEL_INCHES * len(groups) + BAR_INCHES * sum(bars)
    figure = new_figure(11, height, "The same batches from each loader")
    panels = figure.subplots(len(groups), 2, squeeze=False, height_ratios=bars) if groups else []
    for (left, right), (title, rows) in zip(panels, groups.items(), strict=True):
        rows = sorted(rows, key=lambda row: row["images_per_second"]["median"])
        names = [row["loader"] for row in rows]
        speeds = [row["images_per_second"] for row in rows]
        middle = [speed["median"] for speed in speeds]
        whiskers = [[speed["median"] - speed["min"] for speed in speeds],
                    [speed["max"] - speed["median"] for speed in speeds]]
        draw_bars(left, names, middle, BLUE, "images/s, more is better", whiskers)
        draw_bars(right, names, [row["cpu_us_per_image"] for row in rows], ORANGE, "CPU us per image, less is better")
        left.set_title(title, fontsize=11, loc="left")
    save(figure, path)


def draw_bars(axes, names, values, color, unit, whiskers=None):
    """Horizontal bars with their values behind them, on a logarithmic axis."""
    bars = axes.barh(names, values, xerr=whiskers, color=color, capsize=3, height=0.7, log=True)
    axes.bar_label(bars, [number(value) for value in values], padding=5, fontsize=9)
    low, high = min(values), max(values)
    axes.set_xlim(low / 3, high * (high / low) ** 0.15 * 3)
    axes.set_xlabel(unit, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
