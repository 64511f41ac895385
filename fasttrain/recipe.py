"""Recipes: the YAML files in `recipes/`, each a whole set of optimisation settings by name."""

from importlib import resources
from typing import Any

import yaml

from fasttrain.checks import choice

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
