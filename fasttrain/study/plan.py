"""Which runs a study has, and in which order. No torch in here: a wrong flag must answer at once."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fasttrain.checks import choice
from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError
from fasttrain.recipe import OLD_NAMES, recipe_name, recipe_names
from fasttrain.registry import ARCHS, HEADS

# of each flag that lists names: all of them, and the check of one
KNOWN = {"archs": (ARCHS.names, choice(ARCHS.names)), "heads": (HEADS.names, choice(HEADS.names)),
         "recipe": (recipe_names, recipe_name)}


def names(flag: str, text: str | None) -> list[str]:
    """Returns the names in "A,B", each once; without a text all of them. ConfigError for one that is not known."""
    known, check = KNOWN[flag]
    given = known() if text is None else [name.strip() for name in text.split(",")]
    return list(dict.fromkeys(check(f"--{flag}", name) for name in given))


def plan(archs: list[str], heads: list[str], recipes: list[str], seeds: int, out: str,
         files: Iterable[str | Path] = (), flags: dict[str, Any] | None = None,
         sets: Iterable[str] = ()) -> list[RunConfig]:
    """Returns the RunConfigs of a study, seed by seed, so that every variant has its first seed early.

    files, flags and sets: as for `RunConfig.load`, shared by all runs. Run folders are <out>/<variant>/<recipe>-<seed>.
    """
    configs = []
    for seed in range(seeds):
        for recipe in recipes:
            for arch in archs:
                for head in heads:
                    own = {"arch": arch, "head": head, "recipe": recipe, "seed": seed}
                    config = shared_config(files, flags, own, sets)
                    configs.append(config.replace(out=str(run_folder(Path(out) / config.variant, recipe, seed))))
    return configs


def shared_config(files: Iterable[str | Path], flags: dict[str, Any] | None, own: dict[str, Any],
                  sets: Iterable[str]) -> RunConfig:
    """Returns the RunConfig of one run of a study, whose `own` keys, and where it lives, are not the user's to set."""
    own = {**own, "resume": "auto", "out": "study"}
    config = RunConfig.load(files, {**(flags or {}), **own}, sets)
    for key, value in own.items():
        if getattr(config, key) != value:
            raise ConfigError(f"--set {key}={getattr(config, key)}: a study sets {key} itself")
    return config


def run_folder(folder: Path, recipe: str, seed: int) -> Path:
    """Returns the folder of a run; one that was begun under the recipe's old name keeps it."""
    old = [folder / f"{name}-{seed}" for name, new in OLD_NAMES.items() if new == recipe]
    return next((path for path in old if path.exists()), folder / f"{recipe}-{seed}")
