"""Counts the cores that this process may use. No torch in here."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Returns how many cores this process may use: those of its affinity, within the quota of its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, quota())))


def quota(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float:
    """Returns the cores' worth of time that the control groups of this process allow; infinite without a limit.

    root: where control groups are mounted. own: the file that names those of this process.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return math.inf
    limits = [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += map(limit_v2, upwards(root, path))
        elif "cpu" in controllers.split(","):
            limits += map(limit_v1, upwards(root / controllers, path))
    return min(limits)


def upwards(root: Path, path: str) -> Iterator[Path]:
    """Yields the folder of a control group and those above it, up to `root`; in a container the first may be absent."""
    folder = root / path.lstrip("/")
    yield folder
    while folder != root:
        folder = folder.parent
        yield folder


def limit_v2(folder: Path) -> float:
    """Returns the cores that the cpu.max of a group allows, "200000 100000" being 2; infinite for "max" or no file."""
    try:
        allowed, period = (folder / "cpu.max").read_text().split()
        return int(allowed) / int(period)
    except (OSError, ValueError):
        return math.inf


def limit_v1(folder: Path) -> float:
    """Returns the same from the files of control groups version 1, where -1 is no limit."""
    try:
        allowed, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return math.inf
    return allowed / period if allowed > 0 else math.inf
