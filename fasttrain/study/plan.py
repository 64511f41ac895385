"""Which runs a study has, and in which order. No torch in here: a wrong flag must answer at once."""

from pathlib import Path

from fasttrain.config import RunConfig, choice, recipe_names
from fasttrain.errors import ConfigError
from fasttrain.registry import ARCHS, HEADS

KNOWN = {"archs": ARCHS.names, "heads": HEADS.names, "recipe": recipe_names}


def names(flag, text):
    """The names in "A,B", each once; ConfigError for one that is not known. Without a text all archs or heads."""
    known = KNOWN[flag]()
    chosen = dict.fromkeys(name.strip() for name in text.split(",")) if text is not None else known
    return [choice(known)(f"--{flag}", name) for name in chosen]


def plan(archs, heads, recipes, seeds, out, files=(), flags=None, sets=()):
    """The RunConfigs of a study, seed by seed, so that every variant has its first seed early.

    files, flags and sets: as for `RunConfig.load`, shared by all runs. Run folders are <out>/<variant>/<recipe>-<seed>.
    """
    configs = []
    for seed in range(seeds):
        for recipe in recipes:
            for arch in archs:
                for head in heads:
                    own = {"arch": arch, "head": head, "recipe": recipe, "seed": seed}
                    config = RunConfig.load(files, {**(flags or {}), **own, "resume": "auto", "out": "study"}, sets)
                    for key, value in {**own, "resume": "auto", "out": "study"}.items():
                        if getattr(config, key) != value:
                            raise ConfigError(f"--set {key}={getattr(config, key)}: a study sets {key} itself")
                    folder = Path(out) / config.variant / f"{recipe}-{seed}"
                    configs.append(config.replace(out=str(folder)))
    return configs
