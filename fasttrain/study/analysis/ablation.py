"""`ablation.json`: runs, variants with intervals, comparisons with sentences, answers; all that a report shows."""

import json
import math
from pathlib import Path

from fasttrain.storage import write_atomically
from fasttrain.study.analysis import original
from fasttrain.study.analysis.answers import answers, claims
from fasttrain.study.analysis.collect import group
from fasttrain.study.analysis.compare import TIMES_CHANCE, compare_all, correct
from fasttrain.study.analysis.measures import EARLY_SHARE, LEVEL_SHARE, METRICS, Marks, measure
from fasttrain.study.analysis.statistics import CONFIDENCE, REPLICATES, percentile_interval, t_interval
from fasttrain.train.rows import finite
from fasttrain.train.status import DIVERGED, FAILED, INTERRUPTED

METHOD = (
    "Seed s gives every variant the same order of images and the same augmentation: differences are paired by seed.",
    f"Two seeds or more: Student's t with {CONFIDENCE:.0%} intervals; for a difference, of those between equal seeds.",
    f"One seed: a bootstrap over the validation images ({REPLICATES} resamples, the same for both variants, percentile "
    "interval) of top-1 and macro-F1. It tells how sure the difference between these two networks is, nothing of other "
    "seeds. Other metrics then have no interval.",
    "Where all seeds give the same value there is no spread and no interval.",
    "A difference is called separable where its interval leaves out 0. Intervals and p are not corrected for the "
    "number of comparisons; p_holm is, over all comparisons of final top-1 under one recipe (Holm 1979).",
    f"No verdict while either variant's mean top-1 is below {TIMES_CHANCE} times that of guessing.",
    "Only finished runs count, and only runs whose recipe, epochs and images are all the same are compared.",
    "Final is the last epoch; best is the epoch of the highest validation top-1, a choice that flatters a little.",
    f"The level of 'epochs to a level' is {LEVEL_SHARE:.0%} of the lowest best top-1 among the runs of a backbone, "
    f"rounded down, so that all reach it; 'early' is the epoch at {EARLY_SHARE:.0%} of the run.",
    "Question 3 is asked of the three heads that were trained: none has pooling and the stack at once. The stack "
    "counts as not needed where a pooled head with one linear layer beats it, as needed where it beats both of them.",
)
SHOWN = ("epoch", "train_loss", "train_top1", "train_top5", "val_loss", "val_top1", "val_top5", "val_macro_f1")


def build_ablation(runs, others=(), left_out=(), failures=None):
    """The content of ablation.json as a dict.

    runs: `Run`s, see `collect.read_runs`. others: rows for `runs` of planned runs without a readable folder, dicts of
    `arch`, `head`, `seed`, `recipe`, `status`, `folder` and `reason`. left_out: lines. failures: {folder: why the run
    there failed}.
    """
    groups, repeated = group(runs)
    rows = [describe(run, each, (failures or {}).get(str(run.folder))) for each in groups for run in each.runs]
    compared = {each.label: compare_group(each) for each in groups}
    return without_nan({
        "runs": [*rows, *others],
        "variants": [row for each in groups for row in variants(each)],
        "comparisons": [row for each in groups for row in comparison_rows(each, compared[each.label])],
        "answers": [row for each in groups for row in answers(each, compared[each.label])],
        "claims": [row for each in groups for arch in archs(each)
                   for row in claims(each, arch, compared[each.label], Marks.of(each.finished(arch)))],
        "groups": [describe_group(each) for each in groups],
        "metrics": {name: {"unit": m.unit, "better": "higher" if m.better > 0 else "lower", "digits": m.digits}
                    for name, m in METRICS.items()},
        "original": {"source": original.SOURCE,
                     "results": [{"arch": a, "head": h, **r} for (a, h), r in original.RESULTS.items()]},
        "method": list(METHOD),
        "left_out": [*left_out, *repeated],
    })


def write_ablation(ablation, folder):
    """Writes `ablation.json` into a folder, all or nothing; DataError where that cannot be."""
    write_atomically(Path(folder) / "ablation.json", json.dumps(ablation, indent=1, allow_nan=False) + "\n")


def archs(group):
    """The backbones of which a run finished."""
    return [arch for arch in group.archs if group.finished(arch)]


def describe(run, group, failure):
    """A run's row; `reason` tells why it is not done."""
    config = run.config
    reasons = {DIVERGED: f"the loss was not finite in epoch {len(run.rows)}",
               INTERRUPTED: f"stands at epoch {len(run.rows)} of {config.epochs}"}
    return {"arch": config.arch, "head": config.head, "stem": config.stem, "seed": config.seed, "recipe": group.label,
            "status": FAILED if failure else run.status, "reason": failure or reasons.get(run.status),
            "epochs": len(run.rows), "final": {key: run.final[key] for key in SHOWN},
            "best": {key: (run.best or run.final)[key] for key in SHOWN}, "folder": str(run.folder),
            "seconds": sum(row["seconds"] for row in run.rows),
            "images_per_second": sorted(row["images_per_second"] for row in run.rows)[len(run.rows) // 2]}


def describe_group(group):
    """What all runs of a group have in common."""
    config, facts = group.runs[0].config, group.runs[0].facts
    marks = {arch: Marks.of(group.finished(arch))._asdict() for arch in archs(group)}
    return {"recipe": group.label, "epochs": config.epochs, "batch_size": config.batch_size, "lr": config.lr,
            "image_size": config.image_size, "classes": group.classes, "chance": group.chance,
            "train_images": facts.get("train_images"), "val_images": facts.get("val_images"),
            "seeds": sorted({run.config.seed for run in group.runs}), "marks": marks, "command": config.command()}


def variants(group):
    """A row for each variant and metric: the mean over its finished seeds with an interval."""
    for arch in archs(group):
        marks = Marks.of(group.finished(arch))
        for head in dict.fromkeys(run.config.head for run in group.finished(arch)):
            runs = list(group.finished(arch, head).values())
            found = [measure(run, marks) for run in runs]
            for metric in METRICS:
                estimate = t_interval([values[metric] for values in found])
                method = "t over seeds" if estimate.low is not None else "none"
                replicates = group.resampled(runs[0]).get(metric) if len(runs) == 1 else None
                if replicates is not None:
                    estimate = percentile_interval(estimate.mean, replicates)
                    method = "bootstrap over validation images"
                yield {"arch": arch, "head": head, "recipe": group.label, "n": len(runs), "metric": metric,
                       "mean": estimate.mean, "low": estimate.low, "high": estimate.high, "method": method}


def compare_group(group):
    """{(question text, arch, metric): Comparison} of everything that finished."""
    made = [c for arch in archs(group) for c in compare_all(group, arch, Marks.of(group.finished(arch)))]
    return {(c.question.text, c.arch, c.metric): c for c in correct(made)}


def comparison_rows(group, compared):
    """The comparisons as dicts."""
    for c in compared.values():
        yield {"question": c.question.text, "recipe": group.label, "arch": c.arch, "a": c.question.a, "b": c.question.b,
               "metric": c.metric, "label": c.label, "difference": c.estimate.mean, "low": c.estimate.low,
               "high": c.estimate.high, "p": c.estimate.p, "p_holm": c.p_holm, "n": c.n, "method": c.method,
               "verdict": c.verdict, "sentence": c.sentence}


def without_nan(value):
    """A copy that JSON can hold: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else finite(value)
