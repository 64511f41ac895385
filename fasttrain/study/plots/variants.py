"""The variants of a study: their runs, their order, and how each looks in every picture."""

from typing import NamedTuple

import numpy as np

from fasttrain.plotting import BLUE, GREEN, ORANGE
from fasttrain.registry import ARCHS, HEADS
from fasttrain.train.status import DONE

# Colour, line, marker and hatch by head, so that none of them is needed alone: Okabe and Ito's colours again.
LOOKS = ((BLUE, "-", "o", ""), (ORANGE, "--", "s", "//"), (GREEN, ":", "^", ".."),
         ("#CC79A7", "-.", "D", "xx"), ("#E69F00", (0, (5, 1, 1, 1)), "v", "\\\\"), ("#56B4E9", (0, (1, 3)), "P", "++"))
FILLS = ("full", "none", "left", "bottom")  # of markers, by backbone


class Variant(NamedTuple):
    """What is compared. backbone: the architecture, with its stem where that is not the standard one."""

    recipe: str
    backbone: str
    head: str

    @property
    def color(self):
        return self._look[0]

    @property
    def line(self):
        """The line's colour and style, keywords for matplotlib."""
        return {"color": self._look[0], "linestyle": self._look[1]}

    @property
    def marker(self):
        """The marker's shape, colour and filling, keywords for matplotlib."""
        fill = FILLS[place(ARCHS, self.backbone.split(" ")[0]) % len(FILLS)]
        return {"color": self._look[0], "marker": self._look[2], "fillstyle": fill, "markerfacecoloralt": "white"}

    @property
    def hatch(self):
        return self._look[3]

    @property
    def _look(self):
        return LOOKS[place(HEADS, self.head) % len(LOOKS)]


def place(registry, name):
    """Where a name stands in a registry; the names that it does not know come last."""
    names = registry.names()
    return names.index(name) if name in names else len(names)


def variant_of(run, recipe):
    """The Variant that a Run trained under what is called `recipe`."""
    config = run.config
    stem = "" if config.stem == "standard" else f" {config.stem}-stem"
    return Variant(recipe, config.arch + stem, config.head)


def by_variant(runs, recipes):
    """The runs that finished an epoch, by Variant, sorted by recipe, backbone and head as registered, seed.

    recipes: names of recipes by run folder (text), for those that are not called what their config says.
    """
    found = {}
    for run in sorted(runs, key=lambda run: run.config.seed):
        if run.rows:
            recipe = recipes.get(str(run.folder), run.config.recipe)
            found.setdefault(variant_of(run, recipe), []).append(run)
    order = sorted(found, key=lambda v: (v.recipe, place(ARCHS, v.backbone.split(" ")[0]), v.backbone,
                                         place(HEADS, v.head), v.head))
    return {variant: found[variant] for variant in order}


def labels(study):
    """A name for each Variant of a study: the recipe is part of it where there are several."""
    several = len({variant.recipe for variant in study}) > 1
    return {v: f"{v.backbone} {v.head}" + (f", {v.recipe}" if several else "") for v in study}


def panels(study):
    """The study cut by (recipe, backbone), a panel for each: a list of (title, study of that panel)."""
    several = len({variant.recipe for variant in study}) > 1
    cut = {}
    for variant, runs in study.items():
        cut.setdefault(variant[:2], {})[variant] = runs
    return [(f"{backbone}, {recipe}" if several else backbone, part) for (recipe, backbone), part in cut.items()]


def finished(runs):
    """The runs that came to their end: what means are made of."""
    return [run for run in runs if run.status == DONE]


def only_finished(study):
    """The study without the runs that did not come to their end, and without the variants that have no other."""
    return {variant: finished(runs) for variant, runs in study.items() if finished(runs)}


def mean_rows(runs, key):
    """Epochs and the mean of a column over at least one run, up to the last epoch that all of them have."""
    length = min(len(run.rows) for run in runs)
    epochs = [row["epoch"] for row in runs[0].rows[:length]]
    return epochs, np.mean([[row[key] for row in run.rows[:length]] for run in runs], axis=0)


def rows_legend(figure, handles, columns=3):
    """A legend below a figure that reads row by row; matplotlib's own goes column by column."""
    columns = min(columns, len(handles))
    order = [handle for column in range(columns) for handle in handles[column::columns]]
    figure.legend(handles=order, loc="outside lower center", ncols=columns, fontsize=10, frameon=False, handlelength=3)
