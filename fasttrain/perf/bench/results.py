"""What all benchmarks share: spreads, the environment block, checks of flags."""

import os
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from fasttrain.errors import ConfigError


def spread(values: Iterable[float]) -> dict[str, float | None]:
    """Returns "median", "min" and "max" of the repeats; None for each where there are none."""
    values = list(values)
    if not values:
        return {"median": None, "min": None, "max": None}
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def environment(**settings) -> dict:
    """Returns machine, versions and load before a benchmark, and its settings."""
    from fasttrain.environment import versions

    return {**versions(), "load_average": os.getloadavg(), "settings": settings}


def listed(name: str, text: str | int, check: Callable) -> list:
    """Returns the values of a flag such as `--loaders resident,jpeg`, each through `check(name, value)`."""
    values = [check(name, value) for value in str(text).split(",")]
    if len(set(values)) < len(values):
        raise ConfigError(f"{name}: {text!r} names one value twice")
    return values


def check_outputs(*paths: str | None) -> None:
    """Raises ConfigError now, not after minutes of measuring, for a file that cannot be written; skips None."""
    for path in map(Path, filter(None, paths)):
        if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ConfigError(f"{path}: cannot be written: name a file in a folder that exists")
