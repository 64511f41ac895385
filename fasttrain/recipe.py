"""Recipes: the YAML files in `recipes/`, each a whole set of optimisation settings by name; and how YAML is read."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from fasttrain.checks import choice
from fasttrain.errors import ConfigError

# what PyYAML raises for text that is no YAML, for dates and numbers that are none, for thousands of brackets
NOT_YAML = (yaml.YAMLError, ValueError, AttributeError, RecursionError)
FOLDER = resources.files("fasttrain") / "recipes"
OLD_NAMES = {"seed": "original"}  # accepted wherever a recipe is named; a config holds the new name


def recipe_names() -> list[str]:
    """Returns the names of the recipes that ship with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in FOLDER.iterdir() if file.name.endswith(".yaml"))


def recipe_name(name: str, value: Any) -> str:
    """Accepts the name of a recipe, or an old name, which becomes the new one. A check, see `checks`."""
    renamed = OLD_NAMES.get(value, value) if isinstance(value, str) else value
    return choice(recipe_names)(name, renamed)


recipe_name.known = recipe_names


def load_recipe(name: str) -> dict[str, Any]:
    """Returns the keys of a recipe."""
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def overlay(recipe: Any, given: Any) -> Any:
    """Returns a recipe's value with what was given instead; of a section with the same name, key by key."""
    if given is None:
        return recipe
    if isinstance(given, dict) and isinstance(recipe, dict):
        same = given.get("name", recipe.get("name")) == recipe.get("name")
        return {**recipe, **given} if same else given
    return given


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Returns the mapping in a YAML file; ConfigError in one line where there is none."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"{path}: not YAML" + (f", line {mark.line + 1}" if mark else "")) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no keys")
    return values
