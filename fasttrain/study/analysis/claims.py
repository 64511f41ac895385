"""The original's further claims, each held against the runs of its three heads."""

import math

from fasttrain.format import number
from fasttrain.runs.run import Run
from fasttrain.study.analysis.answers import CLASSIFIER, POOLING, STACK, Compared
from fasttrain.study.analysis.compare import HEADS, Question
from fasttrain.study.analysis.groups import Group
from fasttrain.study.analysis.measures import METRICS
from fasttrain.study.analysis.sentences import mean_text, sentence, tell
from fasttrain.study.analysis.statistics import t_interval

RISE = 0.05  # nats; a smaller rise is within the noise of choosing the lowest of several epochs
NEAR_ZERO = 0.1  # nats above the lowest training loss that the labels allow

Runs = dict[str, list[Run]]  # by head
Found = tuple[str, str, bool | None]  # a claim, what the runs show, whether it holds; None where they cannot tell


def claims(group: Group, arch: str, compared: Compared) -> list[dict]:
    """Returns a dict for each claim on one backbone: `claim`, `recipe`, `arch`, `sentence`, `holds` (see Found)."""
    by_head = {head: list(runs.values()) for head, runs in group.by_head(arch).items() if head in HEADS}
    if not by_head:
        return []
    found = [
        by_comparison("origin converges faster than maxpool", compared, POOLING, arch, "epochs_to_level"),
        by_comparison("the MLP over-fits more", compared, CLASSIFIER, arch, "val_loss_rise"),
        falls_then_rises(by_head, group),
        reaches_zero(by_head, group),
        by_comparison("dropout beats maxpool at small epochs", compared, STACK, arch, "early_val_top1", wanted="b"),
        *([leaders(by_head), same_ranks(by_head)] if len(by_head) > 1 else []),
    ]
    return [{"claim": claim, "recipe": group.label, "arch": arch, "sentence": sentence([told]), "holds": holds}
            for claim, told, holds in filter(None, found)]


def by_comparison(claim: str, compared: Compared, question: Question, arch: str, metric: str,
                  wanted: str = "a") -> Found | None:
    """Judges a claim that one head is better by a Comparison; None where there is none."""
    c = compared.get((question.text, arch, metric))
    return c and (claim, tell(c), c.verdict == wanted if c.verdict in ("a", "b") else None)


def falls_then_rises(by_head: Runs, group: Group) -> Found:
    """Judges whether the validation loss has its minimum before the end and rises after it."""
    parts, kinds = [], set()
    for head, runs in by_head.items():
        rises = [group.scores(run)["val_loss_rise"] for run in runs]
        e = t_interval(rises)
        kinds.add(False if e.mean < RISE else True if e.low is not None and e.low > 0 else None)
        lowest = mean([group.scores(run)["val_loss_min_epoch"] for run in runs])
        parts.append(f"{head} is lowest at epoch {lowest:.3g} of {runs[0].config.epochs}, then rises by "
                     f"{mean_text(rises, METRICS['val_loss_rise'].digits)} nats (n={len(runs)})")
    return "validation loss falls, then rises", "; ".join(parts), kinds.pop() if len(kinds) == 1 else None


def reaches_zero(by_head: Runs, group: Group) -> Found:
    """Judges whether the training loss comes near the lowest value that smoothed labels allow."""
    config, classes = group.runs[0].config, group.classes
    smoothing = config.label_smoothing or 0.0
    wrong = smoothing / classes if classes else 0.0
    right = 1 - smoothing + wrong
    lowest = -right * math.log(right) - ((classes - 1) * wrong * math.log(wrong) if wrong else 0.0)
    means = {head: mean([run.final["train_loss"] for run in runs]) for head, runs in by_head.items()}
    told = ", ".join(f"{head} {value:.2f}" for head, value in means.items())
    floor = f" (label smoothing {smoothing:g} allows no less than {lowest:.2f})" if smoothing else ""
    return ("training loss goes to 0 for all", f"final training loss in nats: {told}{floor}",
            None if config.mix else all(value < lowest + NEAR_ZERO for value in means.values()))


def leaders(by_head: Runs) -> Found:
    """Tells which head's mean top-1 leads in which epochs; there is nothing to judge."""
    epochs = next(iter(by_head.values()))[0].config.epochs
    curves = {head: [mean([run.rows[epoch]["val_top1"] for run in runs]) for epoch in range(epochs)]
              for head, runs in by_head.items()}
    spans = []
    for epoch in range(epochs):
        best = max(curves, key=lambda head: curves[head][epoch])
        if spans and spans[-1][0] == best:
            spans[-1][2] = epoch + 1
        else:
            spans.append([best, epoch + 1, epoch + 1])
    told = ", ".join(f"{head} at epoch{f's {a} to {b}' if b > a else f' {a}'}" for head, a, b in spans)
    return "which variant leads at which epoch", f"mean top-1 is highest for {told}; means only, no test", None


def same_ranks(by_head: Runs) -> Found:
    """Judges whether macro-F1 puts the heads in the same order as top-1, by their means."""
    orders, told = [], []
    for metric in ("val_top1", "val_macro_f1"):
        means = {head: mean([run.final[metric] for run in runs]) for head, runs in by_head.items()}
        orders.append(sorted(means, key=means.get, reverse=True))
        told.append(" > ".join(f"{head} ({number(means[head], '.1f')})" for head in orders[-1]))
    same = orders[0] == orders[1]
    return ("macro-F1 ranks like top-1", f"by top-1 {told[0]}, by macro-F1 {told[1]}: "
            + ("the same order of means" if same else "another order of means"), same)


def mean(values: list[float]) -> float:
    """Returns the mean of at least one value."""
    return sum(values) / len(values)
