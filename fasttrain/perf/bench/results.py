"""What all benchmarks share: spreads, the environment block, checks of flags."""

import os
import statistics
from collections.abc import Callable, Iterable

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
