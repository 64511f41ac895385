"""Each write, flush, rename or new file fails once, as on a full or dying disk."""

import errno
import os
import random
import shutil
from pathlib import Path

from fasttrain.errors import DataError
from fasttrain.storage import write_atomically
from tests.torture import watch
from tests.torture.children import child
from tests.torture.kills import ending, leftovers
from tests.torture.subjects import Pack, Run
from tests.torture.table import Tally
from tests.torture.watch import FAIL, SHORT, Fate

ERRORS = (errno.ENOSPC, errno.EIO)


def fail_runs(tally: Tally, count: int, seed: int, place: Path) -> None:
    """Fails one call of each run. It ends with code 3 and one line, or goes on; the same command then finishes it."""
    fail(tally, count, f"{seed} fault", Run, place)


def fail_packs(tally: Tally, count: int, seed: int, place: Path, tree: Path) -> None:
    fail(tally, count, f"{seed} pack fault", lambda folder: Pack(tree, folder), place)


def fail(tally: Tally, count: int, seed: str, make, place: Path) -> None:
    whole = make(place / "whole")
    calls, expected = child(whole, whole.folder).calls, whole.result()
    for trial in range(count):
        rng = random.Random(f"{seed} {trial}")
        subject = make(place / "failing")
        shutil.rmtree(subject.folder, ignore_errors=True)
        nth = rng.randrange(len(calls)) if trial >= len(calls) else trial
        fate = Fate(SHORT if calls[nth].name == "write" and rng.random() < 0.5 else FAIL, nth, rng.choice(ERRORS))
        first = child(subject, subject.folder, fate)
        faults = ["hangs" if first.hung else None,
                  f"traceback: {first.text[-300:]!r}" if first.traceback() else None,
                  f"ends with {first.code}: {first.text[-300:]!r}" if first.code not in (0, 3) else None]
        if first.code == 3:
            faults += [None if first.said_one_line() else f"says {first.text[-300:]!r}", leftovers(subject)]
        else:  # it says that it is done, so it has to be
            faults.append(ending(subject, first, expected))
        short = " after a short one" if fate.what == SHORT else ""
        tally.counts[f"{calls[nth].name} {errno.errorcode[fate.error]}{short}"] += 1
        tally.check(f"trial {trial}, {fate}", *faults, ending(subject, child(subject, subject.folder), expected))


def fail_writes(tally: Tally, count: int, seed: int, place: Path) -> None:
    """Fails one call of the writer that all files of a run go through: the old content or the new one is there."""
    place.mkdir(parents=True, exist_ok=True)
    path, former = place / "file", place / "former"
    for trial in range(count):
        rng = random.Random(f"{seed} write {trial}")
        old, new = (rng.randbytes(rng.choice((1, 100, 70_000))) for _ in range(2))
        path.write_bytes(old)
        former.unlink(missing_ok=True)
        kept = former if trial % 2 else None
        watch.arm(place, Fate(rng.choice((FAIL, SHORT)), rng.randrange(9), rng.choice(ERRORS)))
        told = True
        try:
            write_atomically(path, new, former=kept)
            told = False
        except DataError as error:
            told = "\n" not in str(error)
        finally:
            watch.disarm()
        content = path.read_bytes() if path.exists() else former.read_bytes() if former.exists() else b""
        others = sorted(set(os.listdir(place)) - {"file", "former"})
        tally.check(f"trial {trial}", None if content == new or (told and content == old) else "neither old nor new",
                    f"left: {others}" if others else None)
