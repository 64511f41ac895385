"""A profile for people: measures, then writes tables, pictures and a page."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fasttrain.config import RunConfig
from fasttrain.environment import versions
from fasttrain.errors import ConfigError
from fasttrain.perf import against
from fasttrain.perf.causes import Cause, tell
from fasttrain.perf.profile import Profile, quiet
from fasttrain.perf.profile import profile as measure
from fasttrain.perf.profile_charts import SHOWN_OPERATORS, cut, draw_all, phase_label
from fasttrain.perf.profile_page import write_page
from fasttrain.perf.tables import new_table
from fasttrain.processes import Processes, joined
from fasttrain.runtime import memory_errors
from fasttrain.train.build import build


def render(profile: Profile, other: Profile | None = None) -> Group:
    """Returns a Profile for rich to print: phases, totals, ceilings, operators, what changed against `other`, causes,
    verdict."""
    result, details = profile.result, profile.details
    head = (f"{details['variant']}, batch {details['batch_size']}, {details['precision']}, "
            f"compile {details['compile']}, loader {details['loader']}, {details['steps']} steps a pass")
    parts = [Text(head, style="bold"), phase_table(result, details), ceiling_table(result, details),
             operator_table(details["operators"][:SHOWN_OPERATORS])]
    if other:
        parts.append(change_table(other, profile))
    causes = [Text(tell(Cause(**cause))) for cause in result["causes"] if cause["found"]]
    spaced = [part for table in parts for part in (table, Text())]
    return Group(*spaced, *causes, Text(result["verdict"], style="bold"))


def change_table(before: Profile, now: Profile) -> Table:
    """Returns what changed, the largest first: times of phases and of operators; below, settings and counts."""
    told = "; ".join(f"{name} {old}, now {new}" for name, old, new in against.settings(before, now))
    table = new_table("what changed, ms a step", "before", "now", "change", wrap=True)
    table.caption = told
    for kind, rows in against.changes(before, now).items():
        table.add_section()
        for change in rows:
            name = phase_label(change.name) if kind == "phases" else cut(change.name, 46)
            table.add_row(name, f"{change.before:.3f}", f"{change.now:.3f}", f"{change.added:+.3f}")
    return table


def phase_table(result: dict, details: dict) -> Table:
    table, total = new_table("phase (pass B)", "ms", "share"), result["split_step_ms"]
    for name, value in result["phases_ms"].items():
        table.add_row(phase_label(name), f"{value:.3f}", f"{value / total:.1%}")
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


def profile(config: RunConfig, steps: int = 30, other: str | None = None,
            report: Callable[[str], None] = quiet) -> tuple[Profile, Profile | None, Path] | None:
    """Measures where a training step of `config` spends its time.

    Returns the Profile, the one in the folder `other` that it is held against, and the folder of its files, see
    `new_folder`. That gets profile.html, profile.json, details.json, trace.json.gz and pictures. `report` gets a line
    before each part. Raises ConfigError where the folder is taken or cannot be written, the batch does not fit into
    memory, or `other` is no profile of the same network. Of several processes that share the step the first one writes
    and returns its own times; the others return None.
    """
    with joined(config) as processes:
        return profile_shared(config, steps, other, report if processes.first else quiet, processes)


def new_folder(config: RunConfig) -> Path:
    """Returns where a profile goes: `config.out`, or the first of `profiles/<variant>`, `<variant>-2`, ... without one.

    ConfigError where `config.out` holds a profile.
    """
    if config.out:
        if holds_profile(Path(config.out)):
            raise ConfigError(f"{config.out}: already holds a profile; choose another --out")
        return Path(config.out)
    first = Path("profiles") / config.variant
    later = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([first], later) if not holds_profile(folder))


def holds_profile(folder: Path) -> bool:
    return (folder / "profile.json").exists()


def profile_shared(config: RunConfig, steps: int, other: str | None, report: Callable[[str], None],
                   processes: Processes) -> tuple[Profile, Profile | None, Path] | None:
    """Does what `profile` says, in each of the processes that share the step."""
    folder = processes.together(lambda: new_folder(config))
    before = against.read(other) if other else None
    job = processes.in_turn(lambda: build(config, report, processes)).settled(warn=report)
    if before:
        against.refuse_other(before, other, variant=config.variant, image_size=config.image_size,
                             classes=job.train.num_classes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with memory_errors(job.config.batch_size):
            trainer = job.trainer()
            report("warming up")
            trainer.warm_up()
            found = measure(trainer.step, trainer.train_loader, trainer.loader_name, steps,
                            folder / "trace.json.gz" if processes.first else None, report)
            trainer.close()
        if not processes.first:
            return None
        for name, values in (("profile", found.result), ("details", {**found.details, "environment": versions()})):
            (folder / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        report("drawing")
        write_page(found, before, draw_all(found, folder), folder)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write: {error.strerror or error}; choose another --out") from None
    return found, before, folder
