"""What accuracy costs: time, throughput, parameters, arithmetic, memory traffic."""

import functools

import numpy as np
from matplotlib.lines import Line2D

from fasttrain.perf.summary import summarize
from fasttrain.plotting import label_panel, new_figure, save
from fasttrain.study.plots.variants import labels, mean_rows, only_finished, rows_legend
from fasttrain.train.rows import finite

COSTS = (("parameters", "million", lambda s: s.totals["params"] / 1e6),
         ("arithmetic of a forward pass", "MFLOP an image", lambda s: s.flop_counter / 1e6),
         ("memory traffic of a forward pass", "MiB an image in fp32", lambda s: s.true_totals["mem_rw"] / 2**20))

FRONT = {"color": "0.55", "linewidth": 5, "alpha": 0.35}


def draw_pareto(study, path):
    """Draws accuracy over the time trained so far, and which ends no other beats; returns the caption.

    None where no run finished, as for `draw_costs`.
    """
    study = only_finished(study)
    if not study:
        return None
    figure, axes = by_recipe(study, 1, "accuracy against time")
    scale, unit = time_unit(max(seconds(run)[-1] for runs in study.values() for run in runs))
    for recipe, panel in zip(recipes(study), axes[0], strict=True):
        ends = []
        for variant, runs in study.items():
            if variant.recipe == recipe:
                accuracy = mean_rows(runs, "val_top1")[1]
                times = np.mean([seconds(run)[: len(accuracy)] for run in runs], axis=0) / scale
                panel.plot(times, accuracy, linewidth=1.3, alpha=0.7, **variant.line)
                panel.plot(times[-1], accuracy[-1], markersize=9, markeredgewidth=1.8, **variant.marker)
                ends.append((times[-1], accuracy[-1]))
        label_panel(panel, f"recipe {recipe}", "validation top-1 (%)")
        count_axis(panel, f"time of training and validation ({unit})")
        draw_front(panel, pareto_front(ends))
    legend(figure, study, Line2D([], [], label="best for the time", **FRONT))
    save(figure, path)
    return ("Validation top-1 against the time since the start, means over the seeds. A marker is the end of the runs; "
            "what lies below and to the right of the grey line is both slower and worse than another variant. A point "
            "before the end is not what a run of that length would reach, since the learning rate falls over the whole "
            f"run. {recorded(study)}")


def count_axis(axes, label):
    """Gives panels an axis from 0 that may have fractions."""
    axes.set_xlabel(label, fontsize=10)
    axes.set_xlim(0, 1.08 * axes.dataLim.x1)
    axes.xaxis.get_major_locator().set_params(integer=False)


def draw_front(axes, front):
    """Draws what the points of a front beat: all that is slower and worse than one of them."""
    if front:
        front = [*front, (axes.get_xlim()[1], front[-1][1])]
        axes.step(*zip(*front, strict=True), where="post", zorder=0, **FRONT)


def pareto_front(points):
    """Those of the (cost, value) points that no other one beats in both, by rising cost."""
    front = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if finite(value) is not None and (not front or value > front[-1][1]):
            front.append((cost, value))
    return front


def seconds(run):
    """The time at the end of each epoch since the start: training, validation and compiling, in seconds."""
    return run.rows[0]["compile_seconds"] + np.cumsum([row["seconds"] for row in run.rows])


def time_unit(longest):
    """The number of seconds in the unit that suits a time, and the unit's name."""
    return next((scale, name) for least, scale, name in ((3 * 3600, 3600, "hours"), (180, 60, "minutes"), (0, 1, "s"))
                if longest >= least)


def draw_throughput(study, path):
    """Draws the images per second of each variant, a dot for each run; returns the caption."""
    figure = new_figure(9, 1.6 + 0.45 * max(3, len(study)), "training speed")
    axes = figure.subplots()
    for row, (variant, runs) in enumerate(study.items()):
        speeds = [np.median([r["images_per_second"] for r in run.rows]) for run in runs]
        mean = np.mean(speeds)
        axes.barh(row, mean, height=0.66, color=variant.color, alpha=0.55, hatch=variant.hatch, edgecolor="white")
        axes.plot(speeds, [row] * len(speeds), "o", color="0.1", markersize=4, zorder=3)
        axes.annotate(f"{mean:,.0f}" if mean >= 100 else f"{mean:.1f}", (0, row), (6, 0), textcoords="offset points",
                      va="center", fontsize=10, bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})
    axes.set_yticks(range(len(study)), labels(study).values(), fontsize=10)
    axes.set_ylim(max(len(study), 3) - 0.5, -0.5)
    axes.set_xlim(0, 1.05 * axes.dataLim.x1)
    axes.set_xlabel("training images a second", fontsize=10)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
    return ("Training images a second: a dot is the median over the epochs of one run, the bar and the number are the "
            f"mean of these. {recorded(study)}")


def recorded(study):
    """Where the times of a study come from."""
    devices = dict.fromkeys(device(run) for runs in study.values() for run in runs)
    return f"Times as recorded on {' and '.join(devices)}; where a machine had other work they are only indicative."


def device(run):
    """What a run was trained on, as far as env.json tells."""
    kind, _, index = run.facts.get("device", "an unknown device").partition(":")
    cpu, *gpus = run.environment.get("devices") or [{}]
    if kind == "cuda" and gpus:
        return gpus[int(index or 0)]["name"]
    if kind == "cpu" and "threads" in cpu:
        return f"{run.environment['cpu']}, {cpu['threads']} of {run.environment['cores']} cores"
    return kind


def draw_costs(study, path):
    """Draws final accuracy over parameters, arithmetic and memory traffic; returns the caption."""
    study = only_finished(study)
    if not study:
        return None
    figure, axes = by_recipe(study, len(COSTS), "accuracy against cost")
    summaries = {variant: summary(runs[0]) for variant, runs in study.items()}
    for column, recipe in enumerate(recipes(study)):
        for row, (name, unit, cost) in enumerate(COSTS):
            panel = axes[row][column]
            for variant, runs in study.items():
                if variant.recipe == recipe:
                    draw_cost(panel, variant, cost(summaries[variant]), [run.final["val_top1"] for run in runs])
            label_panel(panel, f"recipe {recipe}\n{name}" if len(axes[0]) > 1 else name, "validation top-1 (%)")
            count_axis(panel, unit)
    legend(figure, study)
    save(figure, path)
    return ("Final validation top-1 against what a variant costs: parameters; operations, two for each multiply-add of "
            "convolutions and linear layers; bytes that the layers read and write one by one. Dashes are seeds, "
            "markers their means.")


def draw_cost(axes, variant, cost, accuracy):
    """Draws the accuracy of every seed as a dash, and their mean as a marker."""
    axes.plot([cost] * len(accuracy), accuracy, "_", color=variant.color, markersize=9, alpha=0.8)
    axes.plot(cost, np.mean(accuracy), linestyle="none", markersize=9, markeredgewidth=1.8, **variant.marker)


def summary(run):
    """The Summary of the network that a Run trained."""
    config = run.config
    classes = len(run.facts.get("class_names", ())) or config.classes or 200
    return summarize_once(config.arch, config.head, classes, config.image_size, config.stem)


summarize_once = functools.cache(summarize)


def recipes(study):
    return list(dict.fromkeys(variant.recipe for variant in study))


def by_recipe(study, rows, title):
    """A figure and its axes `[rows][recipes]`; the panels of a recipe that stands alone lie side by side."""
    count = len(recipes(study))
    if count == 1 and rows > 1:
        figure = new_figure(4 * rows, 4.4, title)
        return figure, [[axes] for axes in figure.subplots(1, rows, sharey=True)]
    figure = new_figure(max(8, 4.4 * count), 1 + 3.4 * rows, title)
    return figure, figure.subplots(rows, count, squeeze=False, sharey=True)


def legend(figure, study, *more):
    """The markers of a study below its panels: filled by backbone, shaped and coloured by head; `more` handles."""
    shown = {variant[1:]: variant for variant in study}
    handles = [Line2D([], [], label=" ".join(name), markersize=8, markeredgewidth=1.8, linewidth=1.3,
                      **variant.marker | {"linestyle": variant.line["linestyle"] if more else "none"})
               for name, variant in shown.items()]
    rows_legend(figure, [*handles, *more])
