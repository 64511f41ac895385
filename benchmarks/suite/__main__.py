"""`scripts/gpu_suite`: runs the stages, each for its share of the time, and sums up what was measured."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.suite.plan import STAGES
from benchmarks.suite.process import Clock
from benchmarks.suite.results import Mismatch, Results
from benchmarks.suite.stage import Settings, run_stage
from benchmarks.suite.summary import write_summary

NAMES = [stage.name for stage in STAGES]
STOPPED = 75  # like `fasttrain run`: a signal stopped it, what was measured is kept


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the parsed flags; exits with code 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="gpu_suite", allow_abbrev=False,
                                     description="Measures fasttrain on this machine; run again to go on.")
    parser.add_argument("--out", required=True, type=Path, help="folder of the results; what is in it is not repeated")
    parser.add_argument("--stages", type=stage_names, default=NAMES, metavar="A,B,...", help=f"of {','.join(NAMES)}")
    parser.add_argument("--minutes", type=float, metavar="M", help="for all of it, divided by the stages' weight")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a miniature on made-up images, seconds for each stage")
    parser.add_argument("--data", metavar="PATH", help="as for `fasttrain run --data`")
    found = parser.parse_args(arguments)
    if found.device == "cpu" and not found.tiny:
        parser.error("--device cpu goes with --tiny: the stages proper are made for a GPU")
    if found.minutes is not None and not found.minutes > 0:
        parser.error("--minutes: needs a number above 0")
    return found


def stage_names(text: str) -> list[str]:
    """Returns the stages in "A,B,..."; raises ArgumentTypeError for an unknown one."""
    names = text.split(",")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown stage {unknown[0]!r}: known are {', '.join(NAMES)}")
    return names


def run_stages(settings: Settings, names: list[str], minutes: float | None, report: Callable[[str], None]) -> None:
    """Runs the stages named; after one that fails the next one runs. report: gets a line for each measurement."""
    clock = Clock(None if minutes is None else 60 * minutes)
    setting = {"device": settings.device, "tiny": settings.tiny}
    waiting = [stage for stage in STAGES if stage.name in names]
    while waiting:
        stage, left = waiting[0], sum(other.weight for other in waiting)
        waiting = waiting[1:]
        report(f"{stage.name}:")
        results = Results(settings.out / f"{stage.name}.json", setting)
        measurements = stage.measurements(settings)
        if all(results.done(measurement.name) for measurement in measurements):
            report("  all there")
            continue
        share = None if minutes is None else clock.left() * stage.weight / left
        if not run_stage(measurements, results, share, settings.out / f"{stage.name}.log", report):
            report("  its time is over; run again to go on")


def main(arguments: list[str] | None = None) -> None:
    """Exits with 0 where all ran, whatever it found; 2 for a wrong call; 75 after a signal."""
    given = parse(arguments)
    settings = Settings(given.out.resolve(), given.device, given.tiny, given.data and absolute(given.data))
    settings.out.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(STOPPED))
    try:
        run_stages(settings, given.stages, given.minutes, lambda text: print(text, flush=True))
    except Mismatch as mismatch:
        sys.exit(f"gpu_suite: error: {mismatch}")
    finally:
        for row in write_summary(settings, NAMES):
            print(f"{row['name']}: {row['figure'] or '-'} (wanted {row['wanted']}): {row['verdict']}", flush=True)


def absolute(data: str) -> str:
    """Returns a path that holds in any working folder; `synthetic` stays as it is."""
    return str(Path(data).resolve()) if Path(data).exists() else data


if __name__ == "__main__":
    main()
