"""A profile for people: measures, then writes tables, a stacked bar of the phases and a roofline."""

import json
import math
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fasttrain.config import RunConfig
from fasttrain.environment import versions
from fasttrain.errors import ConfigError
from fasttrain.perf.profile import Profile
from fasttrain.perf.profile import profile as measure
from fasttrain.perf.tables import new_table
from fasttrain.perf.verdict import flop_rate
from fasttrain.plotting import BLACK, BLUE, DARK, GRAY, GREEN, ORANGE, SKY, YELLOW, new_figure, save
from fasttrain.runtime import memory_errors
from fasttrain.train.build import build

# a hatch each, for print in black and white
PHASE_STYLES = {
    "loader_wait": ("loader wait", ORANGE, "//"), "host_to_device": ("host to device", YELLOW, ".."),
    "forward": ("forward", SKY, ""), "backward": ("backward", BLUE, "\\\\"),
    "optimizer": ("optimizer", GREEN, "xx"), "other": ("other", GRAY, ""),
}


def render(profile: Profile) -> Group:
    """Returns a Profile for rich to print: phases, totals, ceilings, operators, verdict."""
    result, details = profile.result, profile.details
    head = (f"{details['variant']}, batch {details['batch_size']}, {details['precision']}, "
            f"compile {details['compile']}, loader {details['loader']}, {details['steps']} steps a pass")
    return Group(Text(head, style="bold"), Text(), phase_table(result, details), Text(), ceiling_table(result, details),
                 Text(), operator_table(details["operators"]), Text(), Text(result["verdict"], style="bold"))


def phase_table(result: dict, details: dict) -> Table:
    table, total = new_table("phase (pass B)", "ms", "share"), result["split_step_ms"]
    for name, (label, _, _) in PHASE_STYLES.items():
        value = result["phases_ms"][name]
        table.add_row(label, f"{value:.3f}", f"{value / total:.1%}")
    table.add_section()
    table.add_row("step in pieces (pass B)", f"{total:.3f}", "100.0%")
    table.add_row("step as it trains (pass A)", f"{result['step_ms']:.3f}", f"{result['step_ms'] / total:.1%}")
    table.add_row("  of it waiting for the loader", f"{details['loader_wait_ms']:.3f}",
                  f"{details['loader_wait_ms'] / total:.1%}")
    return table


def ceiling_table(result: dict, details: dict) -> Table:
    table = new_table("pass A against this machine's ceilings", "reached", "ceiling", "share", wrap=True)
    seconds, ceilings = result["step_ms"] / 1e3, result["ceilings"]
    table.add_row("arithmetic (MFU), GFLOP/s", f"{details['step_flops'] / seconds / 1e9:,.1f}",
                  f"{ceilings['matmul_flops'] / 1e9:,.1f}", f"{result['mfu']:.1%}")
    table.add_row("memory, GB/s, at least", f"{details['step_bytes'] / seconds / 1e9:,.2f}",
                  f"{ceilings['copy_bytes_per_second'] / 1e9:,.2f}", f"{result['bandwidth_share']:.1%}")
    table.add_row("images/s", f"{result['images_per_second']:,.1f}", "", "")
    table.add_row("idle or starting operators", "", "", f"{details['launch_share']:.1%}")
    table.add_row("cost of measuring: pass A, pass B", f"{details['measuring_share']['whole']:.4%}",
                  f"{details['measuring_share']['split']:.4%}", "")
    if details["not_counted"]:
        table.caption = f"memory: not counted are {', '.join(details['not_counted'])}"
    return table


def operator_table(operators: list[dict]) -> Table:
    table = new_table("operator (pass C)", "ms a step", "share", "calls a step", wrap=True)
    for row in operators:
        name = row["name"] if len(row["name"]) <= 60 else row["name"][:59] + "…"
        table.add_row(name, f"{row['ms']:.3f}", f"{row['share']:.1%}", f"{row['calls']:,.0f}")
    return table


def draw_phases(profile: Profile, path: Path) -> None:
    """Draws the step in pieces as a stacked bar beside the step as it trains, into a PNG of 1600 x 640 pixels."""
    result, details = profile.result, profile.details
    figure = new_figure(10, 4, f"{details['variant']}, batch {details['batch_size']}: where a step's time goes")
    axes = figure.subplots()
    whole, wait = result["step_ms"], details["loader_wait_ms"]
    stack(axes, "in pieces", [(name, result["phases_ms"][name]) for name in PHASE_STYLES])
    label, color, hatch = PHASE_STYLES["loader_wait"]
    axes.barh("as it trains", wait, color=color, hatch=hatch, edgecolor="white")
    axes.barh("as it trains", whole - wait, left=wait, color="white", edgecolor=BLACK, label="one piece")
    axes.text(wait + (whole - wait) / 2, 1, f"{whole - wait:.2f} ms", ha="center", va="center", fontsize=10)
    axes.set_xlabel("ms a step", fontsize=10)
    axes.set_xlim(0, 1.02 * max(whole, result["split_step_ms"]))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=7, fontsize=9, frameon=False)
    axes.set_title(result["verdict"], fontsize=9, wrap=True)
    save(figure, path)


def stack(axes, name: str, parts: list[tuple[str, float]]) -> None:
    """Draws one horizontal bar of labelled parts, with numbers where they fit."""
    left, total = 0.0, sum(value for _, value in parts)
    for key, value in parts:
        label, color, hatch = PHASE_STYLES[key]
        axes.barh(name, value, left=left, color=color, hatch=hatch, edgecolor="white", label=label)
        if value > 0.09 * total:
            axes.text(left + value / 2, name, f"{value:.2f} ms\n{value / total:.0%}", ha="center", va="center",
                      fontsize=10, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5})
        left += value


def draw_roofline(profile: Profile, path: Path) -> None:
    """Draws the step under the machine's two measured roofs (Williams et al., CACM 2009), 1280 x 960 pixels."""
    result, details = profile.result, profile.details
    bandwidth, peak = result["ceilings"]["copy_bytes_per_second"], result["ceilings"]["matmul_flops"]
    intensity = details["step_flops"] / details["step_bytes"]
    reached = details["step_flops"] / result["step_ms"] * 1e3
    attainable = min(peak, intensity * bandwidth)
    figure = new_figure(8, 6, f"{details['variant']}, batch {details['batch_size']}, {details['precision']}: roofline")
    axes = figure.subplots()
    ridge = peak / bandwidth
    low, high = (10 ** f(math.log10(x)) for f, x in ((math.floor, min(intensity, ridge) / 3),
                                                    (math.ceil, 3 * max(intensity, ridge))))
    axes.loglog([low, ridge, high], [low * bandwidth, peak, peak], color=BLACK, linewidth=1.8, label="measured roofs")
    axes.loglog([intensity] * 2, [reached, attainable], color=DARK, linestyle=":", linewidth=1.4)
    axes.loglog([intensity], [reached], color=ORANGE, marker="o", markersize=9, linestyle="none",
                label=f"training step: {flop_rate(reached)}, {reached / attainable:.0%} of the roof above it")
    axes.annotate(f"copy: {bandwidth / 1e9:,.1f} GB/s", (low, low * bandwidth), (8, 0), textcoords="offset points",
                  fontsize=10, va="center")
    axes.annotate(f"matrix product: {flop_rate(peak)}", (high, peak), (0, 6), textcoords="offset points",
                  fontsize=10, ha="right")
    axes.set_xlabel("arithmetic intensity, FLOP per byte moved (model of all tensors)", fontsize=10)
    axes.set_ylabel("FLOP/s", fontsize=10)
    axes.set_ylim(min(low * bandwidth, reached) / 2, 3 * peak)
    axes.grid(which="both", color="0.92", linewidth=0.6)
    axes.legend(loc="lower right", fontsize=9)
    save(figure, path)


def profile(config: RunConfig, steps: int = 30) -> tuple[Profile, Path]:
    """Measures where a training step of `config` spends its time; returns the Profile and the folder of its files.

    The folder is `config.out`, default `profiles/<variant>`; it gets profile.json, details.json, trace.json.gz and two
    pictures. Raises ConfigError where it cannot be written or the batch does not fit into memory.
    """
    folder = Path(config.out or Path("profiles") / config.variant)
    job = build(config).settled()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with memory_errors(job.config.batch_size):
            trainer = job.trainer()
            trainer.warm_up()
            found = measure(trainer.step, trainer.train_loader, trainer.loader_name, steps, folder / "trace.json.gz")
            trainer.close()
        for name, values in (("profile", found.result), ("details", {**found.details, "environment": versions()})):
            (folder / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        draw_phases(found, folder / "phases.png")
        draw_roofline(found, folder / "roofline.png")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write: {error.strerror or error}; choose another --out") from None
    return found, folder
