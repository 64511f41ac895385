"""`ablation.json`: runs, variants with intervals, comparisons with sentences, answers; all that a report shows."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from fasttrain.config import RunConfig
from fasttrain.runs.run import Run
from fasttrain.storage import write_atomically
from fasttrain.study.analysis import original
from fasttrain.study.analysis.answers import answers
from fasttrain.study.analysis.claims import claims
from fasttrain.study.analysis.compare import Comparison, compare_group
from fasttrain.study.analysis.groups import Group, group_runs
from fasttrain.study.analysis.measures import EARLY_SHARE, LEARNED, LEVEL_SHARE, METRICS
from fasttrain.study.analysis.sentences import tell
from fasttrain.study.analysis.statistics import CONFIDENCE, REPLICATES, percentile_interval, t_interval
from fasttrain.train.rows import finite
from fasttrain.train.status import DIVERGED, FAILED, INTERRUPTED, TO_DO

METHOD = (
    "Seed s gives every variant the same order of images and the same augmentation, so differences are paired by seed.",
    f"With two seeds or more, intervals are Student's t at {CONFIDENCE:.0%}; that of a difference is over the "
    "differences between equal seeds.",
    f"With one seed, top-1 and macro-F1 get a bootstrap over the validation images ({REPLICATES} resamples, the same "
    "for both variants, percentile interval). It tells how sure the difference between these two networks is, but "
    "nothing about other seeds. Other metrics then have no interval.",
    "Where all seeds give the same value there is no spread and no interval. Intervals are cut to the values that are "
    "possible, such as 0 to 100 %.",
    "Two variants can be told apart where the interval of their difference leaves out 0. Intervals and p are not "
    "corrected for the number of comparisons; p_holm is, over all comparisons of final top-1 under one recipe "
    "(Holm 1979).",
    f"There is no verdict while the mean top-1 of either variant is below {LEARNED}.",
    "Only finished runs count, and only runs with the same recipe, epochs and images are compared.",
    "Final means the last epoch; best means the epoch with the highest validation top-1, a choice that flatters a "
    "little.",
    f"The level of 'epochs to the level' is {LEVEL_SHARE:.0%} of the lowest best top-1 among the runs of a backbone, "
    f"rounded down, so that all reach it; 'early' is the epoch at {EARLY_SHARE:.0%} of the run.",
    "Question 3 is asked of three heads, none of which has both pooling and the stack. The stack counts as not needed "
    "where a pooled head with one linear layer beats it, and as needed where it beats both of them.",
)
SHOWN = ("epoch", "train_loss", "train_top1", "train_top5", "val_loss", "val_top1", "val_top5", "val_macro_f1")


def build_ablation(runs: Sequence[Run], planned: Sequence[RunConfig] = (), left_out: Sequence[str] = (),
                   failures: dict[str, str] | None = None) -> dict:
    """Returns the content of ablation.json.

    runs: see `collect.read_runs`. planned: configs of runs without a readable folder. left_out: lines on what was.
    failures: why the run in a folder failed, by folder.
    """
    failures = failures or {}
    groups, repeated = group_runs(runs)
    compared = [(group, compare_group(group)) for group in groups]
    return without_nan({
        "runs": [*(run_row(run, group.label, failures.get(str(run.folder))) for group in groups for run in group.runs),
                 *(planned_row(config, failures.get(config.out)) for config in planned)],
        "variants": [row for group in groups for row in variant_rows(group)],
        "comparisons": [comparison_row(c) for _, found in compared for c in found.values()],
        "answers": [row for group, found in compared for row in answers(group, found)],
        "claims": [row for group, found in compared for arch in group.finished_archs
                   for row in claims(group, arch, found)],
        "groups": [group_row(group) for group in groups],
        "metrics": {name: {"unit": m.unit, "better": "higher" if m.better > 0 else "lower", "digits": m.digits}
                    for name, m in METRICS.items()},
        "original": {"source": original.SOURCE,
                     "results": [{"arch": a, "head": h, **r} for (a, h), r in original.RESULTS.items()
                                 if any(original.same_classes(run.facts.get("class_names", ())) for run in runs)]},
        "method": list(METHOD),
        "left_out": [*left_out, *repeated],
    })


def write_ablation(ablation: dict, folder: str | Path) -> None:
    """Writes `ablation.json` into a folder, all or nothing; DataError where that cannot be."""
    write_atomically(Path(folder) / "ablation.json", json.dumps(ablation, indent=1, allow_nan=False) + "\n")


def run_row(run: Run, label: str, failure: str | None) -> dict:
    """Returns a run's row; `reason` tells why it is not done. label: what its recipe is called."""
    config = run.config
    reasons = {DIVERGED: f"the loss was not finite in epoch {len(run.rows)}",
               INTERRUPTED: f"stands at epoch {len(run.rows)} of {config.epochs}"}
    return {"arch": config.arch, "head": config.head, "stem": config.stem, "seed": config.seed, "recipe": label,
            "status": FAILED if failure else run.status, "reason": failure or reasons.get(run.status),
            "epochs": len(run.rows), "final": {key: run.final[key] for key in SHOWN},
            "best": {key: (run.best or run.final)[key] for key in SHOWN}, "folder": str(run.folder),
            "seconds": sum(row["seconds"] for row in run.rows),
            "images_per_second": sorted(row["images_per_second"] for row in run.rows)[len(run.rows) // 2]}


def planned_row(config: RunConfig, failure: str | None) -> dict:
    """Returns the row of a planned run that has nothing to show yet."""
    return {"arch": config.arch, "head": config.head, "stem": config.stem, "seed": config.seed, "recipe": config.recipe,
            "status": FAILED if failure else TO_DO, "reason": failure, "epochs": 0, "final": None, "best": None,
            "folder": config.out}


def group_row(group: Group) -> dict:
    """Returns what all runs of a group have in common."""
    config, facts = group.runs[0].config, group.runs[0].facts
    return {"recipe": group.label, "epochs": config.epochs, "batch_size": config.batch_size, "lr": config.lr,
            "image_size": config.image_size, "classes": group.classes, "chance": group.chance,
            "train_images": facts.get("train_images"), "val_images": facts.get("val_images"),
            "seeds": sorted({run.config.seed for run in group.runs}),
            "milestones": {arch: found._asdict() for arch, found in group.milestones.items()},
            "command": config.command()}


def variant_rows(group: Group) -> Iterator[dict]:
    """Yields a row for each variant and metric: the mean over its finished seeds with an interval."""
    for arch in group.finished_archs:
        for head, by_seed in group.by_head(arch).items():
            runs = list(by_seed.values())
            for metric, spec in METRICS.items():
                estimate = t_interval([group.scores(run)[metric] for run in runs])
                method = "t over seeds" if estimate.low is not None else "none"
                replicates = group.resampled(runs[0]).get(metric) if len(runs) == 1 else None
                if replicates is not None:
                    estimate = percentile_interval(estimate.mean, replicates)
                    method = "bootstrap over validation images"
                estimate = estimate.within(0, spec.most)
                yield {"arch": arch, "head": head, "recipe": group.label, "n": len(runs), "metric": metric,
                       "mean": estimate.mean, "low": estimate.low, "high": estimate.high, "method": method}


def comparison_row(c: Comparison) -> dict:
    """Returns a Comparison as a row; `settled` is the verdict after correction for several comparisons."""
    return {"question": c.question.text, "recipe": c.group.label, "arch": c.arch, "a": c.question.a, "b": c.question.b,
            "metric": c.metric, "label": c.label, "difference": c.estimate.mean, "low": c.estimate.low,
            "high": c.estimate.high, "p": c.estimate.p, "p_holm": c.p_holm, "n": c.n, "method": c.method,
            "verdict": c.verdict, "settled": c.settled, "sentence": tell(c)}


def without_nan(value):
    """Returns a copy that JSON can hold: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else finite(value)
