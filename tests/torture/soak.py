"""Many steps of each loader: memory, descriptors, threads and shared memory stay as they are."""

import ctypes
import gc
import os
import threading
from pathlib import Path

from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.errors import FasttrainError
from tests.helpers import make_split
from tests.torture.children import child
from tests.torture.table import Tally

LOADERS = ("resident", "jpeg", "torch", "dali", "ffcv")
GROWTH = 0.02  # of the resident memory
PATIENT_MIB = 4  # that the C library may keep


def soak_loaders(tally: Tally, steps: int, place: Path) -> None:
    """Takes `steps` batches of each loader that is installed here."""
    place.mkdir(parents=True, exist_ok=True)
    for name in LOADERS:
        ended = child(lambda name=name: print(soak(name, steps)) or 0, place / name)
        told = ended.text.strip().splitlines()[-1] if ended.text.strip() else f"ended with {ended.code}"
        if told.startswith("missing"):
            tally.counts[f"{name} is not installed"] += 1
            continue
        tally.counts[name] += steps
        tally.check(name, None if told == "constant" else told)


def soak(name: str, steps: int) -> str:
    """Takes so many batches of a loader; returns what grew, "constant", or that the loader is missing."""
    split = make_split(96, 16)
    try:
        loader = loaders.build(name, LoaderSpec(split, 16, train=True))
    except FasttrainError as error:
        return f"missing: {error}"
    epoch, before = 0, {}
    for taken in range(steps):
        if taken % len(loader) == 0:
            loader.set_epoch(epoch)
            epoch, batches = epoch + 1, iter(loader)
        next(batches)
        if taken == steps // 10:
            before = held()
    after = held()
    loader.close()
    grown = after["rss"] - before["rss"]
    faults = [f"{key} grew from {before[key]} to {after[key]}"
              for key in ("descriptors", "threads", "shared memory") if after[key] > before[key]]
    if grown > max(GROWTH * before["rss"], PATIENT_MIB << 20):
        faults.append(f"memory grew by {grown / 2**20:.1f} MiB")
    return "; ".join(faults) or "constant"


def held() -> dict[str, int]:
    """Returns what this process holds."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"rss": pages * os.sysconf("SC_PAGE_SIZE"), "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(), "shared memory": len(os.listdir("/dev/shm"))}
