"""Which runs a sweep has: `--vary KEY=A,B` as the RunConfigs of a study. No torch in here, as in `plan`."""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fasttrain.config import VERBATIM, RunConfig, parse_set
from fasttrain.errors import ConfigError
from fasttrain.study.plan import shared_config

# keys that decide on which images a run is validated: of two that differ in one, nothing could be compared
IMAGES = ("data", "classes", "limit_val", "val_fraction", "image_size")
BASELINE = "baseline"

Change = tuple[str, ...]  # "key=value" for each key that is changed together


def sweep(varied: Iterable[Sequence[str]], pairs: bool, seeds: int, out: str, files: Iterable[str | Path] = (),
          flags: dict[str, Any] | None = None, sets: Sequence[str] = ()) -> list[RunConfig]:
    """Returns the RunConfigs of a sweep, seed by seed; their folders are <out>/<what was changed>/seed-<n>.

    varied: for each `--vary` its "key=A,B" words, whose values change together. pairs: each change alone, beside the
    baseline, instead of every combination. files, flags and sets: as for `RunConfig.load`, shared by all runs.
    ConfigError for a key, a value or a combination that cannot be.
    """
    axes = [axis(words) for words in varied]
    keys = [item.partition("=")[0] for changes in axes for item in changes[0]]
    if not pairs and (twice := next((key for key in keys if keys.count(key) > 1), None)):
        raise ConfigError(f"--vary {twice}: is varied twice; give all its values at once, {twice}=A,B")
    chosen = [(), *itertools.chain(*axes)] if pairs else [sum(parts, ()) for parts in itertools.product(*axes)]
    configs = {}  # by what they are: two ways to say the same are one run
    for seed in range(seeds):
        for change in chosen:
            try:
                config = shared_config(files, flags, {"seed": seed}, [*sets, *change])
            except ConfigError as error:
                raise ConfigError(f"--vary {' '.join(change)}: {error}" if change else str(error)) from None
            configs.setdefault(config, config.replace(out=str(Path(out) / name(config, change) / f"seed-{seed}")))
    return list(configs.values())


def axis(words: Sequence[str]) -> list[Change]:
    """Returns the changes that one `--vary` asks for: the values of its keys, first with first, second with second."""
    columns = [[f"{key}={value}" for value in values] for key, values in map(split, words)]
    if len({len(column) for column in columns}) > 1:
        counts = " and ".join(str(len(column)) for column in columns)
        raise ConfigError(f"--vary {' '.join(words)}: keys that change together need as many values each, not {counts}")
    return list(zip(*columns, strict=True))


def split(word: str) -> tuple[str, list[str]]:
    """Returns the key and the values of "key=A,B"; semicolons part values that hold commas themselves."""
    key, _, values = word.partition("=")
    found = [value.strip() for value in values.split(";" if key in VERBATIM or ";" in values else ",")]
    for value in found:
        parse_set(f"{key}={value}" if "=" in word else word, "--vary")
    if "" in found:
        raise ConfigError(f"--vary {word}: a value is empty")
    if key in IMAGES:
        raise ConfigError(f"--vary {key}: changes the images that validate, so nothing could be compared")
    return key, found


def name(config: RunConfig, change: Change) -> str:
    """Returns the name of the folder of a change: its keys with their values, as far as file names allow."""
    values = config.flat()
    told = ",".join(f"{key}={values[key]}" for key in (item.partition("=")[0] for item in change))
    return re.sub(r"[^\w.,=+-]", "-", told)[:200] or BASELINE
