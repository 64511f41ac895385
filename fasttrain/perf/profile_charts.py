"""The pictures of a profile: its phases, a timeline of some steps, the costliest operators, a roofline."""

import math
from pathlib import Path

from fasttrain.page import say
from fasttrain.perf.profile import Profile
from fasttrain.perf.verdict import flop_rate
from fasttrain.plotting import (
    BLACK,
    BLUE,
    DARK,
    GRAY,
    GREEN,
    ORANGE,
    PALE,
    PINK,
    SIZE,
    SKY,
    YELLOW,
    draw_bars,
    dress_panel,
    legend_below,
    new_figure,
    save_with_svg,
)

SHOWN_OPERATORS = 12
WIDTH = 6.4  # inches: two pictures lie side by side in a page
LABEL = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
# colour and a hatch each, for print in black and white
PHASE_STYLES = {
    "loader_wait": (ORANGE, "//"), "host_to_device": (YELLOW, ".."), "forward": (SKY, ""), "backward": (BLUE, "\\\\"),
    "optimizer": (GREEN, "xx"), "other": (GRAY, ""),
}
UNKNOWN_PHASE = (PINK, "oo")


def draw_all(profile: Profile, folder: Path) -> list[tuple[str, str]]:
    """Draws every picture into `folder`, as PNG and as SVG; returns (name, title) of each."""
    pictures = {"phases": ("Phases", draw_phases), "timeline": ("Timeline", draw_timeline),
                "operators": ("Operators", draw_operators), "roofline": ("Roofline", draw_roofline)}
    for name, (_, draw) in pictures.items():
        draw(profile, folder / f"{name}.png")
    return [(name, title) for name, (title, _) in pictures.items()]


def phase_label(name: str) -> str:
    """Returns what pictures and tables call a phase."""
    return name.replace("_", " ")


def phase_style(name: str) -> dict:
    """Returns keywords for the bars of a phase."""
    color, hatch = PHASE_STYLES.get(name, UNKNOWN_PHASE)
    return {"color": color, "hatch": hatch, "edgecolor": "white"}


def draw_phases(profile: Profile, path: Path) -> None:
    """Draws the step in pieces as a stacked bar beside the step as it trains."""
    result, details = profile.result, profile.details
    figure = new_figure(WIDTH, 3.4, f"{details['variant']}, batch {details['batch_size']}: where a step's time goes")
    axes = figure.subplots()
    whole, wait = result["step_ms"], details["loader_wait_ms"]
    longest = max(whole, result["split_step_ms"])
    stack(axes, "in pieces", list(result["phases_ms"].items()), longest)
    axes.barh("as it trains", wait, **phase_style("loader_wait"))
    axes.barh("as it trains", whole - wait, left=wait, color="white", edgecolor=BLACK, label="one piece")
    axes.text(wait + (whole - wait) / 2, 1, f"{whole - wait:.2f} ms", ha="center", va="center", fontsize=SIZE)
    dress_panel(axes, x="ms a step", grid=None)
    axes.set_xlim(0, 1.02 * longest)
    legend_below(figure, axes.get_legend_handles_labels()[0], columns=4)
    save_with_svg(figure, path)


def stack(axes, name: str, parts: list[tuple[str, float]], longest: float) -> None:
    """Draws one horizontal bar of labelled parts, with numbers where they fit. longest: what fills the axis."""
    left, total = 0.0, sum(value for _, value in parts)
    for key, value in parts:
        (bar,) = axes.barh(name, value, left=left, label=phase_label(key), **phase_style(key))
        say(bar, f"{phase_label(key)}: {value:.3f} ms, {value / total:.1%}")
        if value > 0.2 * longest:
            axes.text(left + value / 2, name, f"{value:.2f} ms\n{value / total:.0%}", ha="center", va="center",
                      fontsize=SIZE, bbox=LABEL)
        left += value


def draw_timeline(profile: Profile, path: Path) -> None:
    """Draws the first steps in pieces, a row for each."""
    rows = []
    for phase, begin, end in profile.details["timeline"]:
        if phase == "loader_wait":
            rows.append([])
        rows[-1].append((phase, begin, end))
    figure = new_figure(WIDTH, 3.4, "the first steps in pieces")
    axes = figure.subplots()
    shown = {}
    for number, row in enumerate(rows):
        start = row[0][1]
        for phase, begin, end in row:
            (bar,) = axes.barh(number, end - begin, left=begin - start, height=0.7, **phase_style(phase))
            say(bar, f"step {number + 1}, {phase_label(phase)}: {end - begin:.3f} ms, from {begin - start:.3f} ms on")
            shown.setdefault(phase, bar).set_label(phase_label(phase))
    dress_panel(axes, x="ms since the step began", grid="x")
    axes.set_yticks(range(len(rows)), [f"step {number + 1}" for number in range(len(rows))])
    axes.set_ylim(max(len(rows), 2) - 0.4, -0.6)
    axes.set_xlim(0, 1.02 * max((row[-1][2] - row[0][1] for row in rows), default=1))
    legend_below(figure, list(shown.values()), columns=4)
    save_with_svg(figure, path)


def draw_operators(profile: Profile, path: Path) -> None:
    """Draws the costliest operators of pass C as bars."""
    rows = profile.details["operators"][:SHOWN_OPERATORS]
    figure = new_figure(WIDTH, 4.2, "operators, ms a step by themselves")
    axes = figure.subplots()
    draw_bars(axes, [cut(row["name"], 30) for row in rows], [row["ms"] for row in rows],
              [f"{row['share']:.0%}" for row in rows], unit="ms a step", room=6, color=BLUE)
    for bar, row in zip(axes.patches, rows, strict=True):
        say(bar, f"{row['name']}: {row['ms']:.3f} ms, {row['share']:.1%}, {row['calls']:,.0f} calls a step")
    save_with_svg(figure, path)


def cut(name: str, limit: int) -> str:
    """Returns an operator's name, with its middle left out where it is long."""
    return name if len(name) <= limit else f"{name[:limit // 2]}…{name[1 - limit // 2:]}"


def draw_roofline(profile: Profile, path: Path) -> None:
    """Draws the step under the machine's two measured roofs (Williams et al., CACM 2009)."""
    result, details = profile.result, profile.details
    bandwidth, peak = result["ceilings"]["copy_bytes_per_second"], result["ceilings"]["matmul_flops"]
    intensity = details["step_flops"] / details["step_bytes"]
    reached = details["step_flops"] / result["step_ms"] * 1e3
    attainable = min(peak, intensity * bandwidth)
    title = f"{details['variant']}, batch {details['batch_size']}, {details['precision']}: roofline"
    figure = new_figure(WIDTH, 4.2, title)
    axes = figure.subplots()
    ridge = peak / bandwidth
    low, high = (10 ** f(math.log10(x)) for f, x in ((math.floor, min(intensity, ridge) / 3),
                                                    (math.ceil, 3 * max(intensity, ridge))))
    axes.loglog([low, ridge, high], [low * bandwidth, peak, peak], color=BLACK, linewidth=1.8, label="measured roofs")
    axes.loglog([intensity] * 2, [reached, attainable], color=DARK, linestyle=":", linewidth=1.4)
    told = f"training step: {flop_rate(reached)}, {reached / attainable:.0%} of the roof above it"
    say(axes.loglog([intensity], [reached], color=ORANGE, marker="o", markersize=9, linestyle="none", label=told)[0],
        told)
    axes.annotate(f"copy: {bandwidth / 1e9:,.1f} GB/s", (low, low * bandwidth), (8, 0), textcoords="offset points",
                  fontsize=SIZE, va="center")
    axes.annotate(f"matrix product: {flop_rate(peak)}", (high, peak), (0, 6), textcoords="offset points",
                  fontsize=SIZE, ha="right")
    axes.set_xlabel("FLOP for each byte moved (model of all tensors)", fontsize=SIZE)
    axes.set_ylabel("FLOP/s", fontsize=SIZE)
    axes.set_ylim(min(low * bandwidth, reached) / 8, 3 * peak)
    axes.tick_params(labelsize=SIZE)
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=SIZE)
    save_with_svg(figure, path)
