"""What every benchmark shares: spreads, the environment block, checks of flags."""

import os
import statistics
from pathlib import Path

from fasttrain.errors import ConfigError


def spread(values):
    """{"median", "min", "max"} of the numbers of the repeats; None for each where there are none."""
    values = list(values)
    if not values:
        return {"median": None, "min": None, "max": None}
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def environment(**settings):
    """Machine, versions and load before the run, with the settings that it was run with."""
    from fasttrain.environment import versions

    return {**versions(), "load_average": os.getloadavg(), "settings": settings}


def listed(name, text, check):
    """The values of a flag such as `--loaders resident,jpeg`; each goes through `check(name, value)`."""
    values = [check(name, value) for value in str(text).split(",")]
    if len(set(values)) < len(values):
        raise ConfigError(f"{name}: {text!r} names one value twice")
    return values


def check_outputs(*paths):
    """Raises ConfigError now, not after minutes of measuring, for a file that could not be written; skips None."""
    for path in map(Path, filter(None, paths)):
        if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ConfigError(f"{path}: cannot be written: name a file in a folder that exists")
