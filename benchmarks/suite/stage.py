"""What a stage is and how it runs: measurement by measurement, each kept at once, none repeated."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.suite.process import Clock, run
from benchmarks.suite.results import Results, read_json

ROOT = Path(__file__).resolve().parents[2]


class Settings(NamedTuple):
    """What the user chose. out: folder of the results. data: as for `fasttrain run --data`, or None."""

    out: Path
    device: str
    tiny: bool
    data: str | None

    def raw(self, name: str) -> Path:
        """Returns the file that the measurement `name` writes."""
        return self.out / "raw" / f"{name.replace(' ', '-').replace(',', '')}.json"


@dataclass(frozen=True)
class Measurement:
    """One command that leaves a JSON file.

    name: its row. arguments: what follows `python -m`. seconds: the most that it may take. result: the file. values:
    turns what the file holds into what the row holds. least: does not start with fewer seconds left. continues: the
    command goes on with what an earlier one left in the file.
    """

    name: str
    arguments: list[str]
    seconds: float
    result: Path
    values: Callable[[Any], dict] = dict
    environment: dict[str, str] = field(default_factory=dict)
    least: float = 20
    continues: bool = False


class Stage(NamedTuple):
    """weight: its share of the time. measurements: Settings -> [Measurement], the most telling first."""

    name: str
    weight: float
    measurements: Callable[[Settings], list[Measurement]]


def run_stage(measurements: list[Measurement], results: Results, seconds: float | None, log_path: Path,
              report: Callable[[str], None]) -> bool:
    """Runs what `results` lacks for at most `seconds` (None: each to its own limit); returns False if time ran out."""
    clock = Clock(seconds)
    for measurement in measurements:
        if results.done(measurement.name):
            continue
        if clock.left() < measurement.least:
            return False
        report(f"  {measurement.name} ...")
        row = take(measurement, min(measurement.seconds, clock.left()), log_path)
        results.put(measurement.name, row)
        report(f"  {measurement.name}: {row['status']}, {row['seconds']:.0f} s")
    return True


def take(measurement: Measurement, seconds: float, log_path: Path) -> dict:
    """Runs one measurement and returns its row, with what it wrote before it failed or ran out of time."""
    measurement.result.parent.mkdir(parents=True, exist_ok=True)
    if not measurement.continues:
        measurement.result.unlink(missing_ok=True)
    command = [sys.executable, "-m", *measurement.arguments]
    started = time.monotonic()
    with open(log_path, "a", encoding="utf-8") as log:
        print(f"\n$ {' '.join(command)}", file=log, flush=True)
        status = run(command, seconds, log, {"PYTHONPATH": python_path(), **measurement.environment})
    row = {"status": status, "seconds": time.monotonic() - started}
    found = read_json(measurement.result)
    if found is None:
        return {**row, "status": "failed" if status == "ok" else status, "note": last_line(log_path)}
    return {**measurement.values(found), **row, **({"status": "oom"} if found_oom(found) else {})}


def found_oom(found: Any) -> bool:
    return isinstance(found, dict) and found.get("status") == "oom"


def python_path() -> str:
    """Returns the source tree before whatever PYTHONPATH holds already (DALI, say)."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def last_line(path: Path) -> str:
    """Returns the last line of a log that is not empty."""
    lines = [line for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300]
