"""`ablation.json` about runs of any settings: what differs, who is ahead, what each key does."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fasttrain.config import SECTIONS, RunConfig, fit_to_data
from fasttrain.errors import ConfigError
from fasttrain.format import count
from fasttrain.runs.run import Run
from fasttrain.runs.settings import settings, varied
from fasttrain.study.analysis.ablation import planned_row, run_row, without_nan
from fasttrain.study.analysis.compare import PAIRED_T, estimate_mean
from fasttrain.study.analysis.groups import SAME_SETTING
from fasttrain.study.analysis.measures import LEARNED, learned_from, resampled
from fasttrain.study.analysis.statistics import CONFIDENCE, REPLICATES, Estimate, holm, t_interval
from fasttrain.train.status import DONE

NUMBERS = ("val_top1", "best_val_top1", "val_macro_f1", "val_loss", "train_loss", "seconds")
NAMED = 4  # keys that a name may hold; of more it tells those that differ from the reference
METHOD = (
    "Runs whose configurations differ in nothing but the seed are one setting. Equal seeds see the same images in the "
    "same order with the same augmentation, so differences are paired by seed.",
    f"With two seeds or more, intervals are Student's t at {CONFIDENCE:.0%} over the seeds; that of a difference is "
    "over the differences between equal seeds. With one seed, a difference gets a paired bootstrap over the validation "
    f"images ({REPLICATES} resamples), which tells nothing about other seeds.",
    "What a key does, all else equal, is first averaged over the values of the other keys, seed by seed.",
    "Two settings are told apart where the interval of their difference leaves out 0, and p, corrected for all "
    "comparisons of the report (Holm 1979), is at most 0.05. The highest of many settings is a little flattered by "
    "being chosen.",
    f"There is no verdict between two of which neither learned: whose top-1 is below {LEARNED}.",
    "Only finished runs count. Top-1 and losses are those of the last epoch, unless named otherwise.",
)


class Setting(NamedTuple):
    """Runs that differ in the seed alone. values: of each key in which settings differ."""

    values: dict[str, Any]
    runs: list[Run]

    @property
    def finished(self) -> dict[int, Run]:
        """The runs that came to their end, by seed."""
        return {run.config.seed: run for run in self.runs if run.status == DONE}

    @property
    def top1(self) -> float:
        """The mean top-1 of the finished runs; below all others where there is none."""
        return float(np.mean([run.final["val_top1"] for run in self.finished.values()] or [-1.0]))


class Comparison(NamedTuple):
    """The difference in top-1 of `a` - `b`, with names as they are shown. question: what it answers."""

    question: str
    a: str
    b: str
    estimate: Estimate
    method: str
    n: int
    learned: bool

    @property
    def verdict(self) -> str:
        """"a" or "b" is ahead, "open" where they cannot be told apart, "none" where nothing can be said."""
        if not self.learned or self.estimate.low is None:
            return "none"
        return ("a" if self.estimate.mean > 0 else "b") if self.estimate.separable else "open"


def build_ranking(runs: Sequence[Run], planned: Sequence[RunConfig] = (), left_out: Sequence[str] = (),
                  failures: dict[str, str] | None = None) -> dict:
    """Returns the content of ablation.json about runs of any settings; for the arguments see `build_ablation`."""
    failures = failures or {}
    found, repeated = by_setting(runs)
    reference = choose_reference(found)
    names = [name(setting, reference) for setting in found]
    factors = together(found)
    compared = [*beside(found, names, reference), *effects(found, factors, reference)] if reference else []
    adjusted = holm([c.estimate.p if c.estimate.p is not None else 1.0 for c in compared])
    rows = [comparison_row(c, p, len(compared)) for c, p in zip(compared, adjusted, strict=True)]
    return without_nan({
        "settings": [setting_row(setting, label, setting is reference)
                     for setting, label in zip(found, names, strict=True)],
        "keys": [{"key": key, "help": explain(key)} for key in (found[0].values if found else ())],
        "factors": factors, "told": told(found, names, reference, rows), "comparisons": rows,
        "runs": [*(run_row(run, label, failures.get(str(run.folder)))
                   for setting, label in zip(found, names, strict=True) for run in setting.runs),
                 *(planned_row(config, failures.get(config.out)) | {"recipe": Path(config.out).parent.name}
                   for config in planned)],
        "common": common(runs), "answers": [], "method": list(METHOD), "left_out": [*left_out, *repeated],
    })


def by_setting(runs: Sequence[Run]) -> tuple[list[Setting], list[str]]:
    """Returns the runs by Setting, the highest mean top-1 first, and a line for each run that repeats another one."""
    flat = [settings(run.config, without=SAME_SETTING) | {"training images": run.fingerprints["train"][:8]}
            for run in runs]
    keys = varied(flat)
    if "limit_train" in keys:
        keys.remove("training images")
    found, repeated = {}, []
    for run, own in zip(runs, flat, strict=True):
        values = {key: own.get(key) for key in keys}
        setting = found.setdefault(repr(values), Setting(values, []))
        if any(other.config.seed == run.config.seed for other in setting.runs):
            repeated.append(f"{run.folder}: the same settings and seed as another run")
        else:
            setting.runs.append(run)
    return sorted(found.values(), key=lambda setting: -setting.top1), repeated


def choose_reference(found: Sequence[Setting]) -> Setting | None:
    """Returns the setting that the others are held against: the one that differs least from all others, of equals the
    one that has the recipe's own values, otherwise the best."""
    def distance(setting):
        apart = sum(sum(setting.values[key] != other.values[key] for key in setting.values) for other in found)
        return apart, not is_recipes(setting)

    return min((setting for setting in found if setting.finished), key=distance, default=None)


def is_recipes(setting: Setting) -> bool:
    """Whether a setting has the values of its recipe in all keys that differ."""
    run = setting.runs[0]
    try:
        plain = fit_to_data(RunConfig(recipe=run.config.recipe), run.facts.get("train_images") or 10**6).flat()
    except ConfigError:  # fewer images than the recipe's batch
        return False
    return all(plain.get(key) == value for key, value in setting.values.items())


def name(setting: Setting, reference: Setting | None) -> str:
    """Returns what a report calls a setting."""
    values = setting.values
    if len(values) > NAMED and reference:
        values = {key: value for key, value in values.items() if value != reference.values[key]}
        if not values:
            return "baseline"
    return ", ".join(f"{short(key)} {text(value)}" for key, value in values.items() if value is not None) or "all runs"


def text(value: Any) -> str:
    """Returns a value as it is shown."""
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else {"True": "yes", "False": "no"}.get(str(value), str(value))


def short(key: str) -> str:
    """Returns a key without its section; the section alone of such as `optimizer.name`."""
    section, _, inner = key.rpartition(".")
    return section if inner == "name" else inner


def together(found: Sequence[Setting]) -> list[list[str]]:
    """Returns the keys in which settings differ, those in one list that never change without each other."""
    parts = {}
    for key in found[0].values if found else ():
        column = [repr(setting.values[key]) for setting in found]
        parts.setdefault(tuple(map(column.index, column)), []).append(key)
    return list(parts.values())


def beside(found: Sequence[Setting], names: Sequence[str], reference: Setting) -> Iterator[Comparison]:
    """Yields the Comparison of every other setting with the reference."""
    for setting, label in zip(found, names, strict=True):
        if setting is not reference and (compared := compare([(setting, reference)])):
            yield Comparison("all settings", label, names[found.index(reference)], *compared)


def effects(found: Sequence[Setting], factors: Sequence[Sequence[str]], reference: Setting) -> Iterator[Comparison]:
    """Yields what each value of a key does beside that of the reference, where several values of the others tell."""
    for factor in factors if len(factors) > 1 else ():
        def part(setting, factor=factor):
            return tuple(setting.values[key] for key in factor)

        def rest(setting, factor=factor):
            return {key: value for key, value in setting.values.items() if key not in factor}

        for value in dict.fromkeys(part(setting) for setting in found if part(setting) != part(reference)):
            pairs = [(a, b) for a, b in itertools.product(found, found)
                     if part(a) == value and part(b) == part(reference) and rest(a) == rest(b)]
            if len(pairs) > 1 and (compared := compare(pairs)):
                key = short(factor[0])
                yield Comparison(factor[0], f"{key} {text(value[0])}", f"{key} {text(part(reference)[0])}", *compared)


def compare(pairs: Sequence[tuple[Setting, Setting]]) -> tuple[Estimate, str, int, bool] | None:
    """Returns (estimate, method, seeds, whether one learned) of the mean difference of pairs in top-1.

    Takes the seeds that finished with all of them; None where there is none.
    """
    seeds = sorted(set.intersection(*(set(setting.finished) for pair in pairs for setting in pair)))
    if not seeds:
        return None
    runs = [[(a.finished[seed], b.finished[seed]) for a, b in pairs] for seed in seeds]
    differences = [float(np.mean([a.final["val_top1"] - b.final["val_top1"] for a, b in own])) for own in runs]
    tables = [[replicates(run) for run in pair] for pair in runs[0]] if len(seeds) == 1 else [[None]]
    known = all(table is not None for pair in tables for table in pair)
    estimate, method = estimate_mean(differences, np.mean([a - b for a, b in tables], axis=0) if known else None)
    classes = runs[0][0][0].classes
    learned = classes is not None and max(max(a.top1, b.top1) for a, b in pairs) >= learned_from(classes)
    return estimate.within(-100, 100), method, len(seeds), learned


def replicates(run: Run) -> np.ndarray | None:
    """Returns the top-1 of a run in each replicate of a bootstrap over the images; None without its predictions."""
    table = run.predictions
    return None if table is None else resampled(table, run.classes)["val_top1"]


def setting_row(setting: Setting, label: str, is_reference: bool) -> dict:
    """Returns a setting's row: its values, and of each number the mean over the finished seeds with an interval."""
    runs = list(setting.finished.values())
    numbers = {"best_val_top1": lambda run: run.best["val_top1"],
               "seconds": lambda run: sum(row["seconds"] for row in run.rows)}
    estimates = {key: t_interval([numbers.get(key, lambda run, key=key: run.final[key])(run) for run in runs])
                 for key in NUMBERS} if runs else {}
    return {"name": label, "values": {key: text(value) for key, value in setting.values.items()}, "n": len(runs),
            "reference": is_reference, "seeds": sorted(setting.finished),
            "numbers": {key: {"mean": e.mean, "low": e.low, "high": e.high} for key, e in estimates.items()}}


def comparison_row(c: Comparison, p_holm: float, family: int) -> dict:
    """Returns a Comparison as a row; `settled` is the verdict after correction for `family` comparisons."""
    lost = c.verdict in ("a", "b") and p_holm > 1 - CONFIDENCE
    e, settled = c.estimate, "open" if lost else c.verdict
    ends = "" if e.low is None else f", 95 % interval {e.low:+.1f} to {e.high:+.1f}"
    over = f"over {count(c.n, 'seed')}" if c.method == PAIRED_T else f"({c.method})"
    note = f"; not settled: p = {p_holm:.2g} after correction for {family} comparisons" if lost else ""
    return {"question": c.question, "a": c.a, "b": c.b, "metric": "val_top1", "difference": e.mean, "low": e.low,
            "high": e.high, "p": e.p, "p_holm": None if e.p is None else p_holm, "n": c.n, "method": c.method,
            "verdict": c.verdict, "settled": settled, "recipe": "", "arch": "",
            "sentence": f"{c.a} - {c.b}: {e.mean:+.1f} points top-1{ends} {over}{note}"}


def told(found: Sequence[Setting], names: Sequence[str], reference: Setting | None, rows: Sequence[dict]) -> list[str]:
    """Returns the result in sentences."""
    if reference is None:
        return ["No run was trained to the end."]
    best, runs = names[0], len(found[0].finished)
    lines = [f"{best} ends highest: {found[0].top1:.1f} % top-1 (mean of {count(runs, 'seed')})."]
    every = [row for row in rows if row["question"] == "all settings"]
    apart = [row for row in every if row["settled"] in ("a", "b")]
    if every:
        lines.append(f"Of the {len(every)} others, {len(apart) or 'none'} can be told apart from "
                     f"{names[found.index(reference)]}, the reference.")
    for row in (row for row in rows if row["question"] != "all settings"):
        verdict = {"a": f"{row['a']} is better than {row['b']}", "b": f"{row['b']} is better than {row['a']}",
                   "open": f"{row['a']} and {row['b']} cannot be told apart",
                   "none": f"no verdict on {row['a']} and {row['b']}"}[row["settled"]]
        lines.append(f"All else equal, {verdict}: {row['sentence'].partition(': ')[2]}.")
    return lines


def explain(key: str) -> str:
    """Returns the help line of a key; "" where it has none."""
    section, _, inner = key.rpartition(".")
    for cls in SECTIONS[section].classes() if section else [RunConfig]:
        if inner in cls.key_names():
            return cls.__dataclass_fields__[inner].metadata["help"]
    return ""


def common(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns what a reader wants to know of all runs: numbers that are the same in all of them."""
    told = [{"variant": run.config.variant, "recipe": run.config.recipe, "epochs": run.config.epochs,
             "training images": run.facts.get("train_images"), "validation images": run.facts.get("val_images"),
             "classes": run.classes} for run in runs]
    return {key: value for key, value in (told[0] if told else {}).items()
            if value is not None and all(own[key] == value for own in told)}
