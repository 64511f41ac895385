"""A signal at any instant: saved, told in one line, and the same command goes on to the same end."""

import random
import shutil
import signal
from pathlib import Path

from tests.torture.children import child
from tests.torture.kills import ending, leftovers
from tests.torture.subjects import Run
from tests.torture.table import Tally

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
SECONDS = 5  # within which a run has saved and ended


def stop_runs(tally: Tally, count: int, seed: int, place: Path) -> None:
    """Stops `count` runs by a signal some time after they have claimed their folder."""
    whole = Run(place / "whole")
    seconds, expected = child(whole, whole.folder).seconds, whole.result()
    for trial in range(count):
        rng = random.Random(f"{seed} signal {trial}")
        run, kind = Run(place / "run"), SIGNALS[trial % len(SIGNALS)]
        shutil.rmtree(run.folder, ignore_errors=True)
        first = child(run, run.folder, after=rng.uniform(0, seconds / 3), send=kind, when=started)
        code = 130 if kind == signal.SIGINT else 75
        late = first.code == 0
        tally.counts["came too late" if late else kind.name] += 1
        tally.check(f"trial {trial}, {kind.name}",
                    None if first.code in (0, code) else f"ends with {first.code}: {first.text[-300:]!r}",
                    f"took {first.answered:.1f} s" if first.answered > SECONDS else None,
                    None if late or run.epoch() or saved_in_epoch(run) else "nothing saved", leftovers(run),
                    ending(run, child(run, run.folder), expected))


def started(calls: list) -> bool:
    """Returns whether the run has begun: its table of rows is there."""
    return any(call.path.name == "env.json" or call.other.name == "env.json" for call in calls)


def saved_in_epoch(run: Run) -> bool:
    return (run.folder / "checkpoints" / "last.pt").exists()
