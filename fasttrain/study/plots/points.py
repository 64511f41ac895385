"""What accuracy costs: time, throughput, parameters, arithmetic, memory traffic."""

import functools
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fasttrain import plotting
from fasttrain.page import say
from fasttrain.perf.summary import summarize
from fasttrain.runs.run import Run
from fasttrain.study.plots.variants import Study, Variant, labels, mean_rows, only_finished, recipes
from fasttrain.train.rows import finite

# (what it is, its unit, how a Summary tells it); all but the first need a rule for every module
COSTS = (("parameters", "million", lambda s: s.parameters / 1e6),
         ("arithmetic of a forward pass", "MFLOP an image", lambda s: s.flop_counter / 1e6),
         ("memory traffic of a forward pass", "MiB an image in fp32", lambda s: s.true_totals["mem_rw"] / 2**20))
UNITS = ((3 * 3600, 3600, "hours"), (180, 60, "minutes"), (0, 1, "s"))  # of time: from how many seconds, seconds, name
FRONT = {"color": plotting.GRAY, "linewidth": 5, "alpha": 0.35}
MARKERS = {"markersize": 9, "markeredgewidth": 1.8}
CLOSE, APART = 0.02, 11  # costs that differ by less, of the largest one, are drawn so many points apart


def draw_pareto(study: Study, path: Path) -> str | None:
    """Draws accuracy over the time trained so far, and which ends no other beats; returns the caption.

    Leaves out recipes of one variant, where others have more to compare. None where no run finished, as for
    `draw_costs`.
    """
    study = worth_comparing(only_finished(study))
    if not study:
        return None
    figure, axes = by_recipe(study, 1, "accuracy against time")
    longest = max(seconds(run)[-1] for runs in study.values() for run in runs)
    scale, unit = next((scale, name) for least, scale, name in UNITS if longest >= least)
    for recipe, (panel,) in axes.items():
        ends = []
        for variant, runs in study.items():
            if variant.recipe == recipe:
                accuracy = mean_rows(runs, "val_top1")[1]
                times = np.mean([seconds(run)[: len(accuracy)] for run in runs], axis=0) / scale
                line, = panel.plot(times, accuracy, linewidth=1.3, alpha=0.7, **variant.look.line)
                end, = panel.plot(times[-1], accuracy[-1], **variant.look.markers, **MARKERS)
                for part in (line, end):
                    say(part, f"{variant.name}: {accuracy[-1]:.1f} % after {times[-1]:.3g} {unit}")
                ends.append((times[-1], accuracy[-1]))
        dress_cost_panel(panel, textwrap.fill(recipe, 24) if len(axes) > 1 else "", f"time ({unit})")
        panel.locator_params(axis="x", nbins=max(3, 8 // len(axes)))
        panel.label_outer()
        draw_front(panel, pareto_front(ends))
    draw_legend(figure, study, plotting.handle("best for the time", **FRONT))
    plotting.save_with_svg(figure, path)
    return ("Validation top-1 against the time since the start, validation included, averaged over the seeds. A marker "
            "is the end of the runs. Every variant below and to the right of the grey line is both slower and worse "
            "than another one. A point before the end is not what a shorter run would reach, since the learning rate "
            f"falls over the whole run. {recorded(study)}")


def worth_comparing(study: Study) -> Study:
    """Returns the study without recipes that have one variant alone; all of it where no recipe has more."""
    counts = Counter(variant.recipe for variant in study)
    return {variant: runs for variant, runs in study.items() if counts[variant.recipe] > 1} or study


def dress_cost_panel(axes, title: str, cost: str) -> None:
    """Gives a panel of top-1 over a cost its title, labels, and an axis of costs from 0."""
    plotting.dress_panel(axes, title, cost, "validation top-1 (%)")
    axes.set_xlim(0, 1.08 * max(axes.dataLim.x1, 0) or 1)


def draw_front(axes, front: list) -> None:
    """Draws the border of what the points of a front beat: all that is slower and worse than one of them."""
    if front:
        front = [*front, (axes.get_xlim()[1], front[-1][1])]
        axes.step(*zip(*front, strict=True), where="post", zorder=0, **FRONT)


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns those of the (cost, value) points that no other one beats in both, by rising cost."""
    front = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if finite(value) is not None and (not front or value > front[-1][1]):
            front.append((cost, value))
    return front


def seconds(run: Run) -> np.ndarray:
    """Returns the time at the end of each epoch since the start: training, validation and compiling, in seconds."""
    return run.rows[0]["compile_seconds"] + np.cumsum([row["seconds"] for row in run.rows])


def draw_throughput(study: Study, path: Path) -> str:
    """Draws the images a second of each variant; returns the caption."""
    figure = plotting.new_figure(9, 1.6 + 0.45 * max(3, len(study)), "training speed")
    speeds = [[np.median([row["images_per_second"] for row in run.rows]) for run in runs] for runs in study.values()]
    means = [np.mean(own) for own in speeds]
    whiskers = [[mean - min(own), max(own) - mean] for mean, own in zip(means, speeds, strict=True)]
    looks = [variant.look.bar for variant in study]
    plotting.draw_bars(figure.subplots(), list(labels(study).values()), means,
                       [f"{mean:,.0f}" if mean >= 100 else f"{mean:.1f}" for mean in means],
                       unit="images/s in training", whiskers=np.transpose(whiskers).tolist(), room=3, alpha=0.6,
                       **{key: [look[key] for look in looks] for key in looks[0]})
    plotting.save_with_svg(figure, path)
    return ("Training images a second: the mean over a variant's runs of each run's median epoch; whiskers span the "
            f"runs. {recorded(study)}")


def recorded(study: Study) -> str:
    """Returns the sentence on where the times of a study come from."""
    devices = dict.fromkeys(device(run) for runs in study.values() for run in runs)
    return f"Times are as recorded on {' and '.join(devices)}; other work on the machine makes them longer."


def device(run: Run) -> str:
    """Returns what a run was trained on, as far as env.json tells."""
    kind, _, index = run.facts.get("device", "an unknown device").partition(":")
    cpu, *gpus = run.environment.get("devices") or [{}]
    if kind == "cuda" and gpus:
        return gpus[int(index or 0)]["name"]
    if kind == "cpu" and "threads" in cpu:
        return f"{run.environment['cpu']}, {cpu['threads']} of {run.environment['cores']} cores"
    return kind


def draw_costs(study: Study, path: Path) -> str | None:
    """Draws final accuracy over parameters, arithmetic and memory traffic; returns the caption."""
    study = worth_comparing(only_finished(study))
    if not study:
        return None
    summaries = {variant: summary(runs[0]) for variant, runs in study.items()}
    if all(variant.place is not None for variant in study) and len({id(found) for found in summaries.values()}) == 1:
        return None  # settings of one network
    figure, axes = by_recipe(study, len(COSTS), "accuracy against cost")
    for recipe, panels in axes.items():
        for panel, (name, unit, cost) in zip(panels, COSTS, strict=True):
            costs = {variant: cost(summaries[variant]) for variant in study if variant.recipe == recipe
                     and (cost is COSTS[0][2] or not summaries[variant].not_counted)}
            for variant, side in beside(costs).items():
                draw_cost(panel, variant, costs[variant], study[variant], side)
            dress_cost_panel(panel, f"{textwrap.fill(recipe, 40)}\n{name}" if len(axes) > 1 else name, unit)
    draw_legend(figure, study)
    plotting.save_with_svg(figure, path)
    unknown = [f"{variant.name} ({', '.join(found.not_counted)})"
               for variant, found in summaries.items() if found.not_counted]
    return ("Final validation top-1 against what a variant costs: parameters; operations, two for each multiply-add of "
            "convolutions and linear layers; bytes that the layers read and write one by one. Dashes are seeds, "
            "markers their means. Markers of equal cost stand side by side."
            + (f" Parameters alone are known of {'; '.join(unknown)}: no rule counts the rest." if unknown else ""))


def beside(costs: dict[Variant, float]) -> dict[Variant, float]:
    """Returns how many points to the side each variant is drawn, so that none hides another of about its cost."""
    near = CLOSE * max(costs.values(), default=0)
    shifts = {}
    for variant, cost in costs.items():
        same = [other for other in costs if abs(costs[other] - cost) <= near]
        shifts[variant] = APART * (same.index(variant) - (len(same) - 1) / 2)
    return shifts


def draw_cost(axes, variant: Variant, cost: float, runs: list[Run], side: float) -> None:
    """Draws the accuracy of every seed as a dash, and their mean as a marker, `side` points to the right."""
    from matplotlib.transforms import ScaledTranslation

    accuracy = [run.final["val_top1"] for run in runs]
    place = axes.transData + ScaledTranslation(side / 72, 0, axes.figure.dpi_scale_trans)
    told = f"{variant.name}: {np.mean(accuracy):.1f} %, {cost:,.4g}"
    axes.plot([cost] * len(accuracy), accuracy, "_", color=variant.look.color, markersize=9, alpha=0.8, transform=place)
    say(axes.plot(cost, np.mean(accuracy), **variant.look.markers, **MARKERS, transform=place)[0], told)
    axes.update_datalim([(cost, value) for value in accuracy])
    axes.autoscale_view()


def summary(run: Run):
    """Returns the Summary of the network that a run trained."""
    config = run.config
    return summarize_once(config.arch, config.head, run.classes or 200, config.image_size, config.stem)


summarize_once = functools.cache(summarize)


def by_recipe(study: Study, rows: int, title: str) -> tuple:
    """Returns a figure and {recipe: its `rows` panels}; the panels of a recipe that stands alone lie side by side."""
    names = recipes(study)
    alone = len(names) == 1 and rows > 1
    size = (4 * rows, 4.4) if alone else (max(6.4, (2.1 if rows == 1 else 4.4) * len(names)), 0.8 + 3.3 * rows)
    figure = plotting.new_figure(*size, title)
    shape = (1, rows) if alone else (rows, len(names))
    panels = figure.subplots(*shape, squeeze=False, sharey=True)
    return figure, dict(zip(names, panels if alone else panels.T, strict=True))


def draw_legend(figure, study: Study, *more) -> None:
    """Draws the markers of a study below its panels, with their lines where there are `more` handles."""
    shown = {variant.name: variant.look for variant in study}
    handles = [plotting.handle(name, **look.markers | (look.line if more else {}),
                               **MARKERS | {"markersize": 8, "linewidth": 1.3}) for name, look in shown.items()]
    plotting.legend_below(figure, [*handles, *more], columns=min(5, max(3, len({variant.head for variant in study}))))
