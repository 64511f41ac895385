"""What accuracy costs: time, throughput, parameters, arithmetic, memory traffic."""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fasttrain import plotting
from fasttrain.perf.summary import summarize
from fasttrain.runs.run import Run
from fasttrain.study.plots.variants import Study, labels, mean_rows, only_finished, recipes
from fasttrain.train.rows import finite

# (what it is, its unit, how a Summary tells it)
COSTS = (("parameters", "million", lambda s: s.totals["params"] / 1e6),
         ("arithmetic of a forward pass", "MFLOP an image", lambda s: s.flop_counter / 1e6),
         ("memory traffic of a forward pass", "MiB an image in fp32", lambda s: s.true_totals["mem_rw"] / 2**20))
UNITS = ((3 * 3600, 3600, "hours"), (180, 60, "minutes"), (0, 1, "s"))  # of time: from how many seconds, seconds, name
FRONT = {"color": plotting.GRAY, "linewidth": 5, "alpha": 0.35}
MARKERS = {"markersize": 9, "markeredgewidth": 1.8}


def draw_pareto(study: Study, path: Path) -> str | None:
    """Draws accuracy over the time trained so far, and which ends no other beats; returns the caption.

    None where no run finished, as for `draw_costs`.
    """
    study = only_finished(study)
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
                panel.plot(times, accuracy, linewidth=1.3, alpha=0.7, **variant.look.line)
                panel.plot(times[-1], accuracy[-1], **variant.look.markers, **MARKERS)
                ends.append((times[-1], accuracy[-1]))
        dress_cost_panel(panel, f"recipe {recipe}", f"time of training and validation ({unit})")
        draw_front(panel, pareto_front(ends))
    draw_legend(figure, study, plotting.handle("best for the time", **FRONT))
    plotting.save(figure, path)
    return ("Validation top-1 against the time since the start, averaged over the seeds. A marker is the end of the "
            "runs. Every variant below and to the right of the grey line is both slower and worse than another one. A "
            "point before the end is not what a shorter run would reach, since the learning rate falls over the whole "
            f"run. {recorded(study)}")


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
    plotting.save(figure, path)
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
    study = only_finished(study)
    if not study:
        return None
    figure, axes = by_recipe(study, len(COSTS), "accuracy against cost")
    summaries = {variant: summary(runs[0]) for variant, runs in study.items()}
    for recipe, panels in axes.items():
        for panel, (name, unit, cost) in zip(panels, COSTS, strict=True):
            for variant, runs in study.items():
                if variant.recipe == recipe:
                    draw_cost(panel, variant, cost(summaries[variant]), [run.final["val_top1"] for run in runs])
            dress_cost_panel(panel, f"recipe {recipe}\n{name}" if len(axes) > 1 else name, unit)
    draw_legend(figure, study)
    plotting.save(figure, path)
    return ("Final validation top-1 against what a variant costs: parameters; operations, two for each multiply-add of "
            "convolutions and linear layers; bytes that the layers read and write one by one. Dashes are seeds, "
            "markers their means.")


def draw_cost(axes, variant, cost: float, accuracy: list[float]) -> None:
    """Draws the accuracy of every seed as a dash, and their mean as a marker."""
    axes.plot([cost] * len(accuracy), accuracy, "_", color=variant.look.color, markersize=9, alpha=0.8)
    axes.plot(cost, np.mean(accuracy), **variant.look.markers, **MARKERS)


def summary(run: Run):
    """Returns the Summary of the network that a run trained."""
    config = run.config
    return summarize_once(config.arch, config.head, run.classes or 200, config.image_size, config.stem)


summarize_once = functools.cache(summarize)


def by_recipe(study: Study, rows: int, title: str) -> tuple:
    """Returns a figure and {recipe: its `rows` panels}; the panels of a recipe that stands alone lie side by side."""
    names = recipes(study)
    alone = len(names) == 1 and rows > 1
    size = (4 * rows, 4.4) if alone else (max(8, 4.4 * len(names)), 1 + 3.4 * rows)
    figure = plotting.new_figure(*size, title)
    shape = (1, rows) if alone else (rows, len(names))
    panels = figure.subplots(*shape, squeeze=False, sharey=True)
    return figure, dict(zip(names, panels if alone else panels.T, strict=True))


def draw_legend(figure, study: Study, *more) -> None:
    """Draws the markers of a study below its panels, with their lines where there are `more` handles."""
    shown = {variant[1:]: variant.look for variant in study}
    handles = [plotting.handle(" ".join(name), **look.markers | (look.line if more else {}),
                               **MARKERS | {"markersize": 8, "linewidth": 1.3}) for name, look in shown.items()]
    plotting.legend_below(figure, [*handles, *more], columns=min(5, max(3, len({head for _, head in shown}))))
