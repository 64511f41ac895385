"""The rows of `bench scale` as a table and as a picture."""

from rich.console import Group

from fasttrain.format import size
from fasttrain.perf.bench.training_chart import rate, whiskers_of
from fasttrain.perf.tables import new_table
from fasttrain.plotting import dress_panel, legend_below, look, new_figure, save


def render(result: dict) -> Group:
    """Returns a result for rich to print."""
    rows = result["rows"]
    table = new_table("processes", "threads", "batch", "images/s", "min - max", "efficiency", "communication",
                      title=f"{rows[0]['device']}, {rows[0]['precision']}", wrap=True)
    for row in rows:
        speed = row["images_per_second"]
        table.add_row(f"{row['processes']}, {row['kind']}", str(row["threads"]), f"{row['batch_size']:,}",
                      rate(speed["median"]), f"{rate(speed['min'])} - {rate(speed['max'])}",
                      f"{row['efficiency']['median']:.0%}", f"{row['communication_share']['median']:.1%}")
    lines = [f"a sum of {size(row['bucket_bytes'])} over {row['processes']} processes by itself: "
             f"{row['exchange_ms']['median']:.2f} ms, of one number: {row['latency_ms']['median']:.3f} ms"
             for row in rows if row["processes"] > 1 and row["kind"] == rows[0]["kind"]]
    return Group(table, *([""] if lines else []), *lines)


def draw(result: dict, path: str) -> None:
    """Draws a result into a PNG: speed, efficiency and the share of communication, by the number of processes."""
    rows, machine = result["rows"], result["environment"]["cpu"]
    figure = new_figure(12, 5, f"Training speed by processes on {machine}, {rows[0]['precision']}")
    panels = figure.subplots(1, 3)
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    counts = sorted({row["processes"] for row in rows})
    for place, kind in enumerate(kinds):
        own = [row for row in rows if row["kind"] == kind]
        style = look(place).markers | look(place).line
        speeds, whiskers = [row["images_per_second"]["median"] for row in own], list(map(whiskers_of, own))
        panels[0].errorbar(counts, speeds, list(zip(*whiskers, strict=True)), label=kind, capsize=3, **style)
        for panel, key in ((panels[1], "efficiency"), (panels[2], "communication_share")):
            panel.plot(counts, [100 * row[key]["median"] for row in own], label=kind, **style)
    for panel, text in zip(panels, ("images/s", "efficiency, %", "share of communication, %"), strict=True):
        dress_panel(panel, x="processes", y=text)
        panel.set_xticks(counts)
        panel.set_ylim(0)
    legend_below(figure, panels[0].get_legend_handles_labels()[0], columns=2, fontsize=9)
    save(figure, path)
