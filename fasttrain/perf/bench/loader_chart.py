"""The result of `bench loader` as tables and as a picture."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fasttrain.format import size
from fasttrain.perf.tables import new_table
from fasttrain.plotting import BLUE, ORANGE, draw_bars, new_figure, save

BAR_INCHES, PANEL_INCHES = 0.36, 0.9
BASELINE, CEILING = "torch", "constant"


def render(result: dict) -> Group:
    """Returns for rich to print: a table for each augmentation and batch size, then the notes."""
    notes = dict.fromkeys(row["note"] for row in result["rows"] if row["note"])
    return Group(*(table(title, rows) for title, rows in groups(result).items()), *map(Text, notes))


def table(title: str, rows: list[dict]) -> Table:
    columns = new_table("loader", "images/s (min - max)", "CPU us", f"{BASELINE} takes", "built in", "memory",
                        title=title)
    for row in rows:
        speed = row["images_per_second"]
        columns.add_row(row["loader"], f"{number(speed['median'])} ({number(speed['min'])} - {number(speed['max'])})",
                        number(row["cpu_us_per_image"]), against_baseline(row, rows), f"{row['build_seconds']:.1f} s",
                        size(row["peak_rss_bytes"]))
    return columns


def groups(result: dict) -> dict[str, list[dict]]:
    """Returns the rows with numbers by title: augmentation, batch size and device."""
    found = {}
    for row in result["rows"]:
        if row["images_per_second"]["median"] is not None:
            title = f"augment {row['augment']}, batch size {row['batch_size']}, {row['device']}"
            found.setdefault(title, []).append(row)
    return found


def against_baseline(row: dict, rows: list[dict]) -> str:
    """Returns how many times the row's CPU time the plain DataLoader takes; nothing where that was not measured."""
    baseline = next((other["cpu_us_per_image"] for other in rows if other["loader"] == BASELINE), None)
    if baseline is None or row["loader"] == BASELINE:
        return ""
    return f"{number(baseline / row['cpu_us_per_image'])} x"


def number(value: float) -> str:
    """Returns a positive number with three digits: 0.00031, 3.42, 51.3, 16.7k, 2.89G."""
    for unit in ("", "k", "M"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}G"


def draw(result: dict, path: str) -> None:
    """Draws speed and CPU time of each loader into a PNG, a pair of panels for each augmentation and batch size.

    Axes are logarithmic, because loaders differ by orders of magnitude; whiskers span the repeats. `constant`, which
    does nothing, would be orders of magnitude off and stays out.
    """
    found = {title: [row for row in rows if row["loader"] != CEILING] for title, rows in groups(result).items()}
    found = {title: rows for title, rows in found.items() if rows}
    bars = [len(rows) for rows in found.values()]
    environment = result["environment"]
    figure = new_figure(11, 0.7 + PANEL_INCHES * len(found) + BAR_INCHES * sum(bars),
                        f"The same batches from each loader: {environment['cpu']}, {environment['cores']} cores")
    panels = figure.subplots(len(found), 2, squeeze=False, height_ratios=bars) if found else []
    for (left, right), (title, rows) in zip(panels, found.items(), strict=True):
        draw_speed(left, rows, title)
        draw_cpu(right, rows)
    save(figure, path)


def draw_speed(axes, rows, title):
    rows = sorted(rows, key=lambda row: -row["images_per_second"]["median"])
    speeds = [row["images_per_second"] for row in rows]
    whiskers = [[speed["median"] - speed["min"] for speed in speeds],
                [speed["max"] - speed["median"] for speed in speeds]]
    values = [speed["median"] for speed in speeds]
    draw_bars(axes, [row["loader"] for row in rows], values, list(map(number, values)),
              unit="images/s, more is better", color=BLUE, whiskers=whiskers, log=True)
    axes.set_title(title, fontsize=11, loc="left")


def draw_cpu(axes, rows):
    rows = sorted(rows, key=lambda row: row["cpu_us_per_image"])
    values = [row["cpu_us_per_image"] for row in rows]
    ratios = [against_baseline(row, rows) for row in rows]
    texts = [number(value) + (f"   {BASELINE} takes {ratio}" if ratio else "")
             for value, ratio in zip(values, ratios, strict=True)]
    draw_bars(axes, [row["loader"] for row in rows], values, texts,
              unit="CPU time of an image in us, less is better", color=ORANGE, log=True)
