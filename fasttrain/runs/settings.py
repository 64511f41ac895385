"""The settings of a run: `config.yaml`, which proves itself, and how two runs' settings differ."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from fasttrain import seal
from fasttrain.config import RunConfig
from fasttrain.errors import DataError, FasttrainError
from fasttrain.recipe import read_yaml
from fasttrain.storage import write_atomically

# these say where and on how many cores a run lives and how often it saves, not what it computes
PLACE = ("out", "resume", "data", "threads", "save_every")


def settings(config: RunConfig, without: tuple[str, ...] = PLACE) -> dict[str, Any]:
    """Returns the keys of a config, sections dotted, with their values; `without` those that do not matter."""
    return {f"{k}.{n}" if isinstance(v, dict) else k: w
            for k, v in config.to_dict().items() if k not in without
            for n, w in (v.items() if isinstance(v, dict) else [(k, v)])}


def differing_key(a: RunConfig, b: RunConfig, without: tuple[str, ...] = PLACE) -> tuple[str, Any, Any] | None:
    """Returns the first key in which two configs differ, with both values; or None. without: keys that may differ."""
    first, second = settings(a, without), settings(b, without)
    return next(((k, first[k], second[k]) for k in first if first[k] != second[k]), None)


def varied(found: Sequence[dict[str, Any]], without: Collection[str] = PLACE) -> list[str]:
    """Returns the keys in which flat settings differ, in their order. without: keys that do not matter."""
    keys = dict.fromkeys(key for own in found for key in own if key not in without)
    return [key for key in keys if any(own.get(key) != found[0].get(key) for own in found)]


def write_config(folder: Path, config: RunConfig) -> None:
    """Writes the config.yaml of a run folder."""
    text = yaml.safe_dump(config.to_dict(), sort_keys=False)
    write_atomically(folder / "config.yaml", seal.seal_text(text))


def read_config(folder: Path | str) -> RunConfig:
    """Returns the settings in config.yaml; ConfigError, or DataError where it is damaged."""
    path = Path(folder) / "config.yaml"
    values = read_yaml(path)
    try:
        seal.check_text(path.read_text(encoding="utf-8"))
        return RunConfig(**values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error})") from None


def saved_config(folder: Path | str) -> RunConfig:
    """Returns the settings in config.yaml; DataError where none can be read."""
    try:
        return read_config(folder)
    except FasttrainError as error:
        raise DataError(f"{folder}: no run to be read here: {error}") from None


def recovered_config(folder: Path | str) -> tuple[RunConfig, str | None]:
    """Returns a run's settings, and a line on why they are those of its newest checkpoint where they are.

    Raises the error on config.yaml where no checkpoint helps.
    """
    checkpoints = Path(folder) / "checkpoints"
    try:
        return read_config(folder), None
    except FasttrainError as error:
        if not any(checkpoints.glob("*.pt")):
            raise
        from fasttrain.train.checkpoint import Checkpoints, newest  # torch takes a second to load

        states, errors = Checkpoints(checkpoints).load_all()
        if not states:
            raise
        config = RunConfig(**states[newest(states, errors)]["config"])
        return config, f"{error}; written anew from the checkpoint"
