"""The suite's findings on one page: each target with its figure, then every row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.suite.results import read_json, write_json
from benchmarks.suite.stage import Settings
from benchmarks.suite.targets import verdicts


def write_summary(settings: Settings, stages: list[str]) -> list[dict]:
    """Writes summary.json and summary.md of all that the folder holds; returns the targets (see `verdicts`)."""
    rows = {name: read_json(settings.out / f"{name}.json", {}).get("rows", {}) for name in stages}
    judged = verdicts(rows, real=not settings.tiny and settings.device == "cuda")
    machine = rows.get("env", {}).get("machine", {})
    write_json(settings.out / "summary.json", {"targets": judged, "machine": facts(machine),
                                               "stages": {name: statuses(found) for name, found in rows.items()}})
    Path(settings.out / "summary.md").write_text("\n".join(page(judged, machine, rows)) + "\n", encoding="utf-8")
    return judged


def facts(machine: dict) -> dict:
    """Returns what the figures depend on, out of the machine's row."""
    keys = ("python", "cpu", "cores", "cuda", "driver", "devices", "packages", "commit", "copy_bytes_per_second",
            "matmul_flops", "nvidia_smi", "loaders")
    return {key: machine.get(key) for key in keys}


def statuses(rows: dict) -> dict[str, str]:
    return {name: row["status"] for name, row in rows.items()}


def page(judged: list[dict], machine: dict, rows: dict) -> Iterator[str]:
    """Yields the lines of summary.md."""
    yield from ("# What was measured", "")
    for name, value in facts(machine).items():
        if value is not None:
            yield f"- {name.replace('_', ' ')}: {words(value)}"
    yield from ("", "| target | wanted | measured | with | verdict |", "|---|---|---|---|---|")
    for row in judged:
        cells = (row["name"], row["wanted"], row["figure"] or "-", row["from"], row["verdict"])
        yield "| " + " | ".join(cells) + " |"
    for stage, found in rows.items():
        yield from ("", f"## {stage}", "", *(f"- {name}: {line(row)}" for name, row in found.items()))
        if not found:
            yield "not measured"


def line(row: dict) -> str:
    """Returns a row in one line: its status and its telling numbers."""
    parts = [row["status"]]
    if isinstance(row.get("images_per_second"), dict):
        speed = row["images_per_second"]
        parts.append(f"{speed['median']:,.0f} images/s ({speed['min']:,.0f} - {speed['max']:,.0f})")
    parts += [f"{key.replace('_', ' ')} {words(row[key])}" for key in TELLING if row.get(key) is not None]
    for each in row.get("rows", ()):
        speed = each["images_per_second"]["median"]
        parts.append(f"{each.get('name', each.get('loader'))} " + (f"{speed:,.0f} images/s" if speed else "failed"))
    return "; ".join(parts) + (f" ({row['note']})" if row.get("note") else "")


TELLING = ("mfu", "compile_seconds", "peak_memory_bytes", "share", "total_seconds", "verdict", "passed", "skipped",
           "failed", "open_seconds", "best_val_top1")


def words(value: Any) -> str:
    """Returns a value as short text."""
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1e6 else f"{value:.3e}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {words(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(words, value))
    return str(value)
