"""The loaders: each file is one way to make the same batches. `build` picks one by name."""

import importlib
import math
import os
from pathlib import Path
from typing import Any

import torch

from fasttrain.data.batch import BatchLoader, LoaderSpec
from fasttrain.format import size
from fasttrain.registry import LOADERS

CGROUP = Path("/sys/fs/cgroup")  # where a container sees its own control group

# What a loader imports beyond what setup.py requires.
BACKENDS = {"dali": "nvidia.dali", "ffcv": "fasttrain.data.ffcv.imports"}


def missing(name: str) -> str | None:
    """Says in one line why the backend of the loader `name` cannot be imported; None if it can, or needs none."""
    try:
        importlib.import_module(BACKENDS.get(name, "fasttrain"))
    except Exception as error:  # a broken install raises more than ImportError
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def choose(name: str, spec: LoaderSpec) -> tuple[str, str]:
    """Returns (loader name, one line that says why): decides what `auto` stands for.

    `resident` where the pixels take at most half of the free memory of the step's device, or where the pack has no JPEG
    bytes to decode; else `dali` where a GPU and DALI are there; else `jpeg`.
    """
    if name == "constant":
        return name, "loader constant: the same batch every time, to measure speed; accuracies say nothing"
    if name != "auto":
        return name, f"loader {name}: asked for"
    if spec.photos:
        return "resident", "loader resident: it cuts crops from photos stored large"
    gpu = torch.device(spec.device).type == "cuda"
    need, free = len(spec.split) * spec.split.image_size**2 * 3, free_memory(spec.device)
    sizes = f"{size(need)} of pixels, {size(free)} of {'GPU memory' if gpu else 'memory'} free"
    if 2 * need <= free:
        return "resident", f"loader resident: {sizes}"
    if spec.split.jpeg is None:
        return "resident", f"loader resident: {sizes}, but the pack holds no JPEG to decode instead"
    if gpu and missing("dali") is None:
        return "dali", f"loader dali: {sizes}"
    return "jpeg", f"loader jpeg: {sizes}"


def free_memory(device: Any) -> int:
    """Returns the bytes that `device` has left; on a CPU with the page cache's, within a container's limit."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min(free, container_memory(CGROUP))


def container_memory(group: Path) -> float:
    """Returns the bytes that a container, a control group of version 2, has left, its page cache's included.

    Infinite without a container, or for one without a limit ("max").
    """
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(kept["file"]) - int(kept["shmem"]))
    except (OSError, KeyError, ValueError):
        return math.inf


def build(name: str, spec: LoaderSpec) -> BatchLoader:
    """Builds the loader called `name`; raises ConfigError where it is unknown or cannot serve the data."""
    return LOADERS.load(name)(spec)
