"""kill -9 at any instant, and the same command again: the end is that of a run that nobody killed."""

import random
import shutil
import signal
from pathlib import Path

from fasttrain.errors import FasttrainError
from tests.torture.children import Ended, child
from tests.torture.subjects import Pack, Report, Run, readable
from tests.torture.table import Tally
from tests.torture.watch import KILL, KILL_HALF, Call, Fate


def kill_runs(tally: Tally, count: int, seed: int, place: Path) -> None:
    """Kills `count` runs: half of them between the first write and the last flush of a save, the rest anywhere."""
    whole = Run(place / "whole")
    unbroken = child(whole, whole.folder)
    expected, saving = whole.result(), [k for k, call in enumerate(unbroken.calls) if saves(call)]
    for trial in range(count):
        rng = random.Random(f"{seed} kill {trial}")
        run = Run(place / "run", pictures=trial % 50 == 49)
        shutil.rmtree(run.folder, ignore_errors=True)
        first = kill(run, rng, saving if trial % 2 else range(len(unbroken.calls)), unbroken.seconds, trial % 8 == 0)
        faults = [unreadable(run, first)]
        if rng.random() < 0.3:
            kill(run, rng, range(len(unbroken.calls)), unbroken.seconds, False)
        last = child(run, run.folder)
        tally.counts[phase(first)] += 1
        tally.check(f"trial {trial}", *faults, ending(run, last, expected), leftovers(run))


def kill(run, rng: random.Random, calls, seconds: float, anywhere: bool) -> Ended:
    """Runs and kills: at one of the calls that change files, or at some time."""
    if anywhere:
        return child(run, run.folder, after=rng.uniform(0, seconds))
    return child(run, run.folder, Fate(rng.choice((KILL, KILL_HALF)), rng.choice(calls)))


def saves(call: Call) -> bool:
    return "checkpoints" in call.path.parts


def phase(killed: Ended) -> str:
    """Returns in which part of the run a kill came, by the last call before it."""
    if killed.code != -signal.SIGKILL:
        return "not reached"
    if not killed.calls:
        return "before the first write"
    last = killed.calls[-1]
    return f"save: {last.name}" if saves(last) else f"other: {last.name}"


def unreadable(run: Run, killed: Ended) -> str | None:
    """Returns what is wrong with the checkpoints that a kill left; None if nothing is.

    As many epochs have to be there as were renamed into their place, and no file may be other than whole or missing.
    """
    saved = sum(call.name == "rename" and call.other.name == "last.pt" for call in killed.calls[:-1])
    try:
        epoch = run.epoch()
    except FasttrainError as error:
        return f"unreadable: {error}"
    there = {path.stem for path in (run.folder / "checkpoints").glob("*.pt")}
    if damaged := there - set(readable(run)):
        return f"damaged: {', '.join(sorted(damaged))}"
    return f"{saved} saves were done, the newest checkpoint is of epoch {epoch}" if epoch < saved else None


def ending(subject, last: Ended, expected: tuple) -> str | None:
    """Returns how the last attempt differs from what is expected; None if it does not."""
    if last.hung:
        return "hangs"
    if last.code or last.traceback():
        return f"ends with {last.code}: {last.text[-300:]!r}"
    try:
        found = subject.result()
    except FasttrainError as error:
        return f"no result: {error}"
    return None if found == expected else "another result"


def leftovers(subject) -> str | None:
    """Returns which temporary files lie about; None for none."""
    found = sorted(str(path) for path in subject.folder.rglob("*.tmp"))
    return f"left: {', '.join(found)}" if found else None


def kill_packs(tally: Tally, count: int, seed: int, place: Path, tree: Path) -> None:
    """Kills packing; the next attempt makes the whole pack."""
    kill_anywhere(tally, count, f"{seed} pack", lambda folder: Pack(tree, folder), place)


def kill_reports(tally: Tally, count: int, seed: int, place: Path, runs: Path) -> None:
    """Kills reports; the next attempt writes the whole report."""
    kill_anywhere(tally, count, f"{seed} report", lambda folder: Report(runs, folder), place)


def kill_anywhere(tally: Tally, count: int, seed: str, make, place: Path) -> None:
    whole = make(place / "whole")
    unbroken = child(whole, whole.folder)
    expected = whole.result()
    for trial in range(count):
        rng = random.Random(f"{seed} {trial}")
        subject = make(place / "killed")
        shutil.rmtree(subject.folder, ignore_errors=True)
        first = kill(subject, rng, range(len(unbroken.calls)), unbroken.seconds, trial % 4 == 0)
        last = child(subject, subject.folder)
        tally.counts[phase(first).replace("other: ", "")] += 1
        tally.check(f"trial {trial}", ending(subject, last, expected), leftovers(subject))
