"""What every benchmark shares: spreads, the environment block, lists in flags."""

import os
import statistics

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
