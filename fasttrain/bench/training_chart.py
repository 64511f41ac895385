"""The rows of `bench step` and `bench e2e` as a table and as a picture."""

from fasttrain.bench.rows import label
from fasttrain.observe.text import duration, size
from fasttrain.report.curves import BLACK, BLUE, GREEN, ORANGE, new_figure, save

STYLES = [(color, line, marker) for line, marker in (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
          for color in (BLUE, ORANGE, GREEN, BLACK)]


def render(result):
    """A result as a rich table; what ran out of memory or failed says so in the place of its numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("contender", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("images/s", "min - max", "ms a step", "MFU", "compiling", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result["rows"]:
        speed = row["images_per_second"]
        numbers = (row["status"],) if row["status"] != "ok" else (
            f"{speed['median']:,.1f}", f"{speed['min']:,.1f} - {speed['max']:,.1f}", f"{row['step_ms']['median']:,.2f}",
            f"{row['mfu']:.1%}", duration(row["compile_seconds"]), size(row["peak_memory_bytes"]))
        table.add_row(label(row), *numbers)
    return table


def draw(result, path):
    """Draws a result into a PNG: lines over the batch size where that varies, else bars; whiskers from min to max."""
    rows, title = result["rows"], f"Training speed on {result['environment']['cpu']}"
    for device in result["environment"].get("devices", []):
        if device["name"] != "cpu":
            title = f"Training speed on {device['name']}"
    done = [row for row in rows if row["status"] == "ok"]
    if len({row["batch_size"] for row in done}) > 1:
        draw_lines(done, path, title)
    else:
        draw_bars(rows, path, title)


def draw_lines(rows, path, title):
    lines = {}
    for row in sorted(rows, key=lambda row: row["batch_size"]):
        lines.setdefault(label(row).replace(f" batch {row['batch_size']},", ""), []).append(row)
    figure = new_figure(10, 5 + 0.2 * len(lines), title)
    axes = figure.subplots()
    for (name, points), (color, line, marker) in zip(lines.items(), STYLES * len(lines), strict=False):
        speeds, whiskers = zip(*map(speed_of, points), strict=True)
        axes.errorbar([row["batch_size"] for row in points], speeds, list(zip(*whiskers, strict=True)), label=name,
                      color=color, linestyle=line, marker=marker, capsize=3)
    sizes = sorted({row["batch_size"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{value:,}" for value in sizes])
    axes.set_xlabel("batch size", fontsize=10)
    axes.set_ylabel("images/s", fontsize=10)
    axes.set_ylim(0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", fontsize=9, frameon=False, ncols=1 if len(lines) < 5 else 2)
    save(figure, path)


def draw_bars(rows, path, title):
    figure = new_figure(10, 1.6 + 0.36 * len(rows), title)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        if row["status"] != "ok":
            axes.text(0, place, f"  {row['status']}", va="center", fontsize=10)
            continue
        speed, whiskers = speed_of(row)
        axes.barh(place, speed, xerr=[[whiskers[0]], [whiskers[1]]], color=BLUE, capsize=3, height=0.7)
        axes.text(speed + whiskers[1], place, f"  {speed:,.0f}", va="center", fontsize=10)
    axes.set_yticks(range(len(rows)), list(map(label, rows)), fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("images/s", fontsize=10)
    axes.margins(x=0.12)
    axes.set_xlim(0)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def speed_of(row):
    """(median, (down to the minimum, up to the maximum)) of a row's images a second."""
    speed = row["images_per_second"]
    return speed["median"], (speed["median"] - speed["min"], speed["max"] - speed["median"])
