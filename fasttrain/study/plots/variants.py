"""The variants of a study: their runs, their order, and how each looks in every picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fasttrain import plotting
from fasttrain.registry import ARCHS, HEADS
from fasttrain.runs.run import Run
from fasttrain.train.status import DONE


class Variant(NamedTuple):
    """What is compared. backbone: the architecture, with its stem where that is not the standard one.

    place: among settings of any kind, which have a name in place of a head, and neither backbone nor recipe.
    """

    recipe: str
    backbone: str
    head: str
    place: int | None = None

    @property
    def name(self) -> str:
        """Backbone and head."""
        return f"{self.backbone} {self.head}".strip()

    @property
    def look(self) -> plotting.Look:
        """How the variant is drawn: colour, line, marker and hatch tell its head, the filling its backbone."""
        if self.place is not None:
            return plotting.look(self.place)
        return plotting.look(HEADS.place(self.head), ARCHS.place(self.backbone.split(" ")[0]))


Study = dict[Variant, list[Run]]


def by_variant(runs: Sequence[Run], recipes: dict[str, str]) -> Study:
    """Returns the runs that finished an epoch by Variant, sorted by recipe, backbone and head as registered, seed.

    recipes: what the report calls the recipe of a run, by run folder; where it is missing, what the config says.
    """
    found = {}
    for run in sorted(runs, key=lambda run: run.config.seed):
        if run.rows:
            config = run.config
            stem = "" if config.stem == "standard" else f" {config.stem}-stem"
            variant = Variant(recipes.get(str(run.folder), config.recipe), config.arch + stem, config.head)
            found.setdefault(variant, []).append(run)
    order = sorted(found, key=lambda v: (v.recipe, ARCHS.place(v.backbone.split(" ")[0]), v.backbone,
                                         HEADS.place(v.head)))
    return {variant: found[variant] for variant in order}


def by_name(runs: Sequence[Run], names: dict[str, str]) -> Study:
    """Returns the runs that finished an epoch by Variant, one for each of `names`, which are by run folder."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names.values()))}
    found = {Variant("", "", name, place): [] for name, place in places.items()}
    for run in sorted(runs, key=lambda run: run.config.seed):
        if run.rows:
            own = names[str(run.folder)]
            found[Variant("", "", own, places[own])].append(run)
    return {variant: own for variant, own in found.items() if own}


def labels(study: Study) -> dict[Variant, str]:
    """Returns a name for each Variant: the recipe is part of it where there are several."""
    several = len(recipes(study)) > 1
    return {v: v.name + (f", {v.recipe}" if several else "") for v in study}


def looks(study: Study) -> dict[Variant, plotting.Look]:
    """Returns the look of each Variant for a picture that shows all of them: with several recipes each has a marker of
    its own, as far as there are markers."""
    if len(recipes(study)) == 1:
        return {variant: variant.look for variant in study}
    return {variant: variant.look._replace(marker=plotting.look(place).marker) for place, variant in enumerate(study)}


def recipes(study: Study) -> list[str]:
    """Returns the recipes of a study, each once."""
    return list(dict.fromkeys(variant.recipe for variant in study))


def panels(study: Study) -> list[tuple[str, Study]]:
    """Returns (title, the study's part) for each recipe and backbone."""
    cut = {}
    for variant, runs in study.items():
        cut.setdefault(variant[:2], {})[variant] = runs
    several = len(recipes(study)) > 1
    return [(f"{backbone}, {recipe}" if several else backbone, part) for (recipe, backbone), part in cut.items()]


def finished(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs that came to their end: what means are made of."""
    return [run for run in runs if run.status == DONE]


def only_finished(study: Study) -> Study:
    """Returns the study without runs that did not come to their end, and without variants that have no other."""
    return {variant: finished(runs) for variant, runs in study.items() if finished(runs)}


def mean_rows(runs: Sequence[Run], key: str) -> tuple[list[int], np.ndarray]:
    """Returns epochs and the mean of a column over at least one run, up to the last epoch that all of them have."""
    length = min(len(run.rows) for run in runs)
    epochs = [row["epoch"] for row in runs[0].rows[:length]]
    return epochs, np.mean([[row[key] for row in run.rows[:length]] for run in runs], axis=0)
