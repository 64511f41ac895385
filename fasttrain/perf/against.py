"""What changed between two profiles of one network, the largest change first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from fasttrain.errors import ConfigError
from fasttrain.perf.profile import Profile

SAME = ("variant", "image_size", "classes")  # what makes a network; older profiles tell the variant alone
SETTINGS = ("batch_size", "precision", "compile", "loader", "threads", "device_type")
TOLD = 12  # changes of a kind
SMALLEST = 0.005  # of a step: smaller changes are not told


class Change(NamedTuple):
    """A time that differs: ms a step before and now."""

    name: str
    before: float
    now: float

    @property
    def added(self) -> float:
        """How many ms a step it costs more now."""
        return self.now - self.before


def read(path: str | Path) -> Profile:
    """Returns the Profile in a folder that `profile` wrote; ConfigError where there is none."""
    folder = Path(path)
    try:
        result, details = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("profile", "details"))
        phases, _ = result["phases_ms"], (result["step_ms"], details["variant"], details["operators"])
    except OSError as error:
        raise ConfigError(f"--against {folder}: profile.json and details.json: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"--against {folder}: profile.json or details.json is damaged") from None
    if not isinstance(phases, dict):
        raise ConfigError(f"--against {folder}: profile.json is damaged")
    return Profile(result, details)


def refuse_other(other: Profile, where: str | Path, **network) -> None:
    """Raises ConfigError where `other` is a profile of another network. network: values of SAME."""
    for key in SAME:
        theirs = other.details.get(key)
        if theirs is not None and theirs != network[key]:
            raise ConfigError(f"--against {where}: a profile of {key.replace('_', ' ')} {theirs}, not {network[key]}: "
                              "only profiles of one network can be compared")


def changes(before: Profile, now: Profile) -> dict[str, list[Change]]:
    """Returns what changed in ms a step, the largest first: `phases`, with the whole step, and `operators`."""
    return {"phases": ranked(phases(before), phases(now), now), "operators": ranked(
        operators(before), operators(now), now)}


def phases(profile: Profile) -> dict[str, float]:
    """Returns the ms of each phase and of the step as it trains."""
    return {**profile.result["phases_ms"], "step as it trains": profile.result["step_ms"]}


def operators(profile: Profile) -> dict[str, float]:
    """Returns the ms of each operator that is told of."""
    return {row["name"]: row["ms"] for row in profile.details["operators"]}


def ranked(before: dict[str, float], now: dict[str, float], profile: Profile) -> list[Change]:
    """Returns the changes that are not too small to tell, the largest first."""
    found = [Change(name, before.get(name, 0.0), now.get(name, 0.0)) for name in dict.fromkeys([*now, *before])]
    least = SMALLEST * profile.result["step_ms"]
    telling = [change for change in found if abs(change.added) >= least]
    return sorted(telling, key=lambda change: -abs(change.added))[:TOLD]


def settings(before: Profile, now: Profile) -> list[tuple[str, str, str]]:
    """Returns (name, before, now) of what was set otherwise, and of causes that one of both found."""
    told = [(key.replace("_", " "), before.details.get(key), now.details.get(key)) for key in SETTINGS]
    causes = [{row["label"]: row for row in one.result.get("causes", ())} for one in (before, now)]
    told += [(label, causes[0].get(label, row)["value"], row["value"]) for label, row in causes[1].items()
             if row["found"] or causes[0].get(label, row)["found"]]
    return [(name, str(a), str(b)) for name, a, b in told if a is not None and b is not None and a != b]
