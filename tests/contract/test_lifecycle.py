"""No loader leaves a thread, a process, a file descriptor, shared memory or memory behind, however it is left."""

import gc
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fasttrain.config import Augment
from tests.contract.common import collect
from tests.helpers import make_split

AUGMENT = Augment(crop_padding=2, flip="random")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what /proc shows")


def held():
    """What this process holds: counts of threads, file descriptors, children and entries of /dev/shm."""
    gc.collect()
    tasks = os.listdir("/proc/self/task")
    return {"threads": len(tasks), "files": len(os.listdir("/proc/self/fd")),
            "children": sum(len(children(task)) for task in tasks), "shm": len(os.listdir("/dev/shm"))}


def children(task):
    """The processes that a thread of this process started; none where it has ended since it was listed."""
    try:
        return Path(f"/proc/self/task/{task}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def settles(expected):
    """`held()` as soon as it is no more than `expected`, or after ten seconds: threads take a moment to end."""
    deadline = time.monotonic() + 10
    while True:
        now = held()
        if all(now[key] <= expected[key] for key in expected) or time.monotonic() > deadline:
            return now
        time.sleep(0.02)


def resident_bytes():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def assert_no_more(now, before):
    grown = {key: (before[key], now[key]) for key in before if now[key] > before[key]}
    assert not grown, f"(before, now): {grown}"


def use(loader):
    """One whole iteration, one that is left early, and one that is left alone."""
    collect(loader)
    loader.set_epoch(1)
    for _ in loader:
        break
    abandoned = iter(loader)
    next(abandoned)
    return abandoned


def test_closing_gives_everything_back(make):
    """The first round may start what a library keeps for the whole process."""
    split = make_split(23)
    use(make(split, 4, augment=AUGMENT))
    make.close()
    before = settles({"children": 0})
    for _ in range(3):
        abandoned = use(make(split, 4, augment=AUGMENT))
        make.close()
        make_again = make(split, 4, train=False)
        collect(make_again)
        make_again.close()
        make_again.close()
        del abandoned
    assert_no_more(settles(before), before)


def test_leaving_early_piles_nothing_up(make):
    """Whole iterations before and after, because what is fetched ahead may be held until then."""
    loader = make(make_split(32), 2, augment=AUGMENT)
    use(loader)
    collect(loader)
    before = held()
    for epoch in range(20):
        loader.set_epoch(epoch)
        collect(itertools.islice(loader, 1 + epoch % 3))
    collect(loader)
    assert_no_more(settles(before), before)


ABANDON = """
import sys
from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.registry import LOADERS
from tests.helpers import make_split

kept = []
for name in LOADERS.names():
    if loaders.missing(name) is None:
        kept.append(iter(loaders.build(name, LoaderSpec(make_split(64), 2, True))))
        next(kept[-1])
sys.exit(7)
"""


def test_a_process_that_closes_nothing_still_ends():
    done = subprocess.run([sys.executable, "-c", ABANDON], cwd=ROOT, capture_output=True, text=True, timeout=120)
    said = [line for line in done.stderr.splitlines() if not line.endswith("later runs reuse it")]
    assert (done.returncode, said) == (7, [])


def test_memory_does_not_grow(make):
    """30 MB of images through loaders that may each hold a few batches of 0.2 MB."""
    split, bound = make_split(250, size=64), 10e6
    loader, delivered = make(split, 16, augment=AUGMENT), 0
    for epoch in range(13):
        if epoch == 3:
            before, delivered = resident_bytes(), 0
        loader.set_epoch(epoch)
        for batch in loader:
            delivered += batch.images.nbytes
    assert delivered > 3 * bound
    assert resident_bytes() - before < bound
