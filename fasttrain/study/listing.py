"""Lists run folders: what each run was, how far it came, in what it differs from the others."""

import fnmatch
import operator
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fasttrain.config import known_keys
from fasttrain.errors import ConfigError, DataError
from fasttrain.format import duration, number
from fasttrain.registry import unknown
from fasttrain.runs.run import Run, load_run
from fasttrain.runs.settings import PLACE, varied
from fasttrain.study.analysis.collect import find_folders
from fasttrain.train.rows import COLUMNS, finite

Entry = dict[str, Any]
OWN = ("folder", "status", "best_top1", "total_seconds")  # of an entry, beside settings and the keys of the last row
SHOWN = 6  # settings in a row of the table
COMPARE = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le,
           ">=": operator.ge}
CONDITION = re.compile(r"([\w.]+)(!=|<=|>=|=|<|>)(.*)")


def find(paths: Iterable[str | Path]) -> tuple[list[Entry], list[str]]:
    """Returns an entry for each run in and below `paths`, and a line for each folder that holds none to be read.

    DataError where there is no run at all.
    """
    folders, left_out = find_folders(paths)
    entries = []
    for folder in folders:
        try:
            entries.append(entry(load_run(folder)))
        except DataError as error:
            left_out.append(str(error))
    if not entries:
        raise DataError(f"no run to list: {left_out[0]}")
    return entries, left_out


def entry(run: Run) -> Entry:
    """Returns what can be told of a run, flat: OWN, its settings, and the keys of its last row."""
    return {"folder": str(run.folder), "status": run.status,
            "best_top1": run.best["val_top1"] if run.best else None,
            "total_seconds": sum(row["seconds"] for row in run.rows),
            **{key: finite(value) for key, value in (run.final or {}).items()}, **run.config.flat()}


def select(entries: Sequence[Entry], conditions: Iterable[str], sort: str | None, reverse: bool = False) -> list[Entry]:
    """Returns the entries that meet all conditions, such as "val_top1>40", sorted by a key; those without it come last.

    ConfigError for a condition or key that cannot be.
    """
    tests = [parse(text) for text in conditions]
    found = [own for own in entries if all(meets(own.get(key), sign, value) for key, sign, value in tests)]
    if sort is None:
        return found[::-1] if reverse else found
    check_key("--sort", sort)
    known = [own for own in found if own.get(sort) is not None]
    known.sort(key=lambda own: order(own[sort]), reverse=reverse)
    return known + [own for own in found if own.get(sort) is None]


def parse(condition: str) -> tuple[str, str, str]:
    """Returns key, sign and value of a condition; ConfigError where it is none."""
    match = CONDITION.fullmatch(condition)
    if not match:
        raise ConfigError(f"--where {condition}: needs the form KEY=VALUE; also !=, <, >, <=, >=")
    check_key(f"--where {condition}", match[1])
    return match.groups()


def check_key(where: str, key: str) -> None:
    """Raises ConfigError unless runs have such a key."""
    known = [*OWN, *COLUMNS, *known_keys()]
    if key not in known:
        raise ConfigError(f"{where}: {unknown('key', key, known)}")


def meets(value: Any, sign: str, wanted: str) -> bool:
    """Whether a value is as wanted: as numbers where both are, otherwise as text, in which * and ? stand for any."""
    numeric, text = order(value), str(value).lower()
    if numeric[0] == 0 and (other := order(as_number(wanted)))[0] == 0:
        return COMPARE[sign](numeric, other)
    if sign in ("=", "!="):
        return fnmatch.fnmatchcase(text, wanted.lower()) == (sign == "=")
    return False


def as_number(text: str) -> float | str:
    """Returns a text as the number that it is, or as it is."""
    try:
        return float(text)
    except ValueError:
        return text


def order(value: Any) -> tuple:
    """Returns a key that sorts numbers before texts."""
    return (0, value, "") if isinstance(value, (int, float)) and not isinstance(value, bool) else (1, 0, str(value))


def table(entries: Sequence[Entry]):
    """Returns a table of rich: a row for each run, with the settings in which it differs from the others."""
    from rich.table import Table

    found = Table(box=None, pad_edge=False)
    for name in ("run", "status", "seed", "epoch", "top-1 %", "best", "time", "differs in"):
        right = name not in ("run", "status", "differs in")
        found.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right)
    keys = varied([{key: own[key] for key in known_keys() if key in own} for own in entries], (*PLACE, "seed"))
    for own in entries:
        found.add_row(own["folder"], own["status"], str(own["seed"]), f"{own.get('epoch', 0)}/{own['epochs']}",
                      number(own.get("val_top1"), ".2f"), number(own["best_top1"], ".2f"),
                      duration(own["total_seconds"]), differences(own, keys))
    return found


def differences(own: Entry, keys: Sequence[str]) -> str:
    """Returns the first settings of an entry among `keys`, without their sections, and how many more there are."""
    told = [f"{key.rpartition('.')[2]}={own[key]}" for key in keys if key in own]
    return " ".join(told[:SHOWN] + [f"and {len(told) - SHOWN} more"] * (len(told) > SHOWN))
