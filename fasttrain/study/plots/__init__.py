"""The pictures of a study, in the order in which the report shows them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fasttrain.runs.run import Run
from fasttrain.study.plots import classes, curves, points
from fasttrain.study.plots.differences import draw_differences
from fasttrain.study.plots.variants import Study, by_variant

# name of the PNG file: (title, function of (study, path) that draws it and returns a caption, or None)
PLOTS = {
    "pareto": ("Accuracy against time", points.draw_pareto),
    "train_loss": ("Training loss", curves.draw_train_loss),
    "val_loss": ("Validation loss", curves.draw_val_loss),
    "top1": ("Top-1 accuracy", partial(curves.draw_accuracy, "top1", "top-1")),
    "top5": ("Top-5 accuracy", partial(curves.draw_accuracy, "top5", "top-5")),
    "macro_f1": ("Macro-F1", curves.draw_macro_f1),
    "throughput": ("Training speed", points.draw_throughput),
    "costs": ("Accuracy against cost", points.draw_costs),
    "per_class": ("Accuracy by class", classes.draw_per_class),
    "confused": ("Most confused classes", classes.draw_confused),
}


class Plot(NamedTuple):
    """A picture: the name of its PNG file, a title and a caption."""

    file: str
    title: str
    caption: str


def draw_plots(runs: Sequence[Run], folder: Path, recipes: dict[str, str],
               comparisons: Sequence[dict] = ()) -> list[Plot]:
    """Draws what can be drawn into files in `folder`, each as PNG and as SVG; returns the differences, then PLOTS.

    recipes: names of recipes by run folder, see `by_variant`. comparisons: those of ablation.json. Removes the picture
    of an earlier report that these runs have nothing for.
    """
    return draw_study(by_variant(runs, recipes), folder, comparisons)


def draw_study(study: Study, folder: Path, comparisons: Sequence[dict]) -> list[Plot]:
    """Does what `draw_plots` says, for runs that are sorted already."""
    plots = []
    draws = {"differences": ("Differences", partial(draw_differences, comparisons)),
             **{name: (title, partial(draw, study)) for name, (title, draw) in PLOTS.items() if study}}
    for name in ("differences", *PLOTS):
        title, draw = draws.get(name, ("", lambda path: None))
        caption = draw(folder / f"{name}.png")
        if caption:
            plots.append(Plot(f"{name}.png", title, caption))
        else:
            for ending in ("png", "svg"):
                (folder / f"{name}.{ending}").unlink(missing_ok=True)
    return plots
