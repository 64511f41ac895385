"""The proof of `docs/reliability.md` in numbers: kills, faults, damage, wrong input, signals, soaks. See `--help`."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.torture import watch


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=1000, metavar="N", help="runs that are killed; default 1000")
    parser.add_argument("--faults", type=int, default=10_000, metavar="N",
                        help="calls that fail, a fifth of them in runs and packs; default 10000")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="repeats equal trials; default 0")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no further promise after M minutes")
    parser.add_argument("--ranks", type=int, default=0, metavar="N", help="try runs of N processes too")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these promises only")
    parser.add_argument("--out", default="runs/torture", metavar="DIR",
                        help="where the table goes; default runs/torture")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Tries every promise; returns 1 if one did not hold."""
    arguments = parse(words)
    if not watch.loaded():
        return watch.start("-m", "tests.torture", *words)
    from fasttrain.environment import versions
    from tests.torture import plan, table

    out, place = Path(arguments.out), Path(tempfile.mkdtemp(prefix="fasttrain-torture-"))
    out.mkdir(parents=True, exist_ok=True)
    tallies, started = [], time.monotonic()
    try:
        for tally, work in plan.promises(arguments, place):
            if arguments.only and tally.name not in arguments.only:
                continue
            if arguments.minutes is not None and time.monotonic() - started > 60 * arguments.minutes:
                print(f"torture: {tally.name} was not begun: {arguments.minutes:g} minutes are over", file=sys.stderr)
                continue
            began = time.monotonic()
            work(tally, place / tally.name)
            tally.seconds = time.monotonic() - began
            shutil.rmtree(place / tally.name, ignore_errors=True)
            tallies.append(tally)
            table.write(tallies, out, arguments.seed, versions())
            print(f"{tally.name}: {tally.held:,} of {tally.tried:,} held, {tally.seconds:.0f} s", flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print("\n".join(["", *table.lines(tallies)]))
    return 1 if any(tally.failed for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
