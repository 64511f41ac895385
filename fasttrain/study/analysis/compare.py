"""Two heads on one backbone, compared: paired differences and the verdicts that they allow."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fasttrain.runs.run import Run
from fasttrain.study.analysis.groups import Group
from fasttrain.study.analysis.measures import METRICS, learned_from
from fasttrain.study.analysis.statistics import CONFIDENCE, Estimate, holm, percentile_interval, t_interval
from fasttrain.train.status import DONE

PAIRED_T = "paired t over seeds"
BOOTSTRAP = "paired bootstrap over validation images"
EQUAL = "none: the difference is the same for every seed"
NOTHING = "none: one seed, no predictions of single images"


class Question(NamedTuple):
    """One of the original's questions, that two heads answer. a, b: heads. names: what a sentence calls them."""

    text: str
    a: str
    b: str
    names: tuple[str, str]


QUESTIONS = (
    Question("1. Average or max pooling?", "origin", "maxpool", ("avg", "max")),
    Question("2. ResNet's or AlexNet's classifier?", "origin", "dropout", ("ResNet's classifier", "AlexNet's")),
    Question("3. With pooling, is the fully connected stack still needed?", "maxpool", "dropout",
             ("max pooling + linear", "the stack")),
)
HEADS = ("origin", "maxpool", "dropout")  # whose answers the original gave; others are in tables and pictures only


class Comparison(NamedTuple):
    """How head a of a question did against head b on one backbone, paired by seed.

    estimate: of a - b. n: pairs. weak: why nothing can be said while a variant hardly learned, or "". absent: seeds of
    either head that are left out, as text. p_holm: p corrected for all `family` comparisons by top-1; None by others.
    """

    question: Question
    group: Group
    arch: str
    metric: str
    estimate: Estimate
    n: int
    method: str
    weak: str
    absent: tuple[str, ...]
    p_holm: float | None = None
    family: int = 0

    @property
    def verdict(self) -> str:
        """"a" or "b" is better, "open" where they cannot be told apart, "none" where nothing can be said."""
        if self.weak or self.estimate.low is None:
            return "none"
        if not self.estimate.separable:
            return "open"
        return "a" if METRICS[self.metric].better * self.estimate.mean > 0 else "b"

    @property
    def settled(self) -> str:
        """The verdict that the correction for several comparisons leaves."""
        lost = self.verdict in ("a", "b") and self.p_holm is not None and self.p_holm > 1 - CONFIDENCE
        return "open" if lost else self.verdict

    @property
    def label(self) -> str:
        """The metric's name on this backbone."""
        return METRICS[self.metric].label.format(**self.group.milestones[self.arch]._asdict())


def compare_group(group: Group) -> dict[tuple[str, str, str], Comparison]:
    """Returns the Comparisons of every question by every metric, as far as runs finished, by (question's text,
    backbone, metric)."""
    made = [c for arch in group.finished_archs for question in QUESTIONS for c in compare(group, arch, question)]
    family = [c for c in made if c.metric == "val_top1" and c.estimate.p is not None]
    corrected = dict(zip(family, holm([c.estimate.p for c in family]), strict=True))
    return {(c.question.text, c.arch, c.metric): c._replace(p_holm=corrected.get(c), family=len(family)) for c in made}


def compare(group: Group, arch: str, question: Question) -> Iterator[Comparison]:
    """Yields the Comparison of two heads by each metric, where a seed finished with both."""
    by_head = group.by_head(arch)
    ours, theirs = (by_head.get(head, {}) for head in (question.a, question.b))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return
    pairs = [(ours[seed], theirs[seed]) for seed in seeds]
    weak, absent = too_weak(pairs, question, group.classes), missing(group, arch, question, seeds)
    for metric in METRICS:
        estimate, method = estimate_difference(group, pairs, metric)
        estimate = estimate.within(-METRICS[metric].most, METRICS[metric].most)
        yield Comparison(question, group, arch, metric, estimate, len(pairs), method, weak, absent)


def estimate_difference(group: Group, pairs: Sequence[tuple[Run, Run]], metric: str) -> tuple[Estimate, str]:
    """Returns the Estimate of a - b from pairs of runs with the same seed, and its method."""
    differences = [group.scores(a)[metric] - group.scores(b)[metric] for a, b in pairs]
    ours, theirs = (group.resampled(run).get(metric) if len(pairs) == 1 else None for run in pairs[0])
    return estimate_mean(differences, None if ours is None or theirs is None else ours - theirs)


def estimate_mean(differences: Sequence[float], replicates: np.ndarray | None) -> tuple[Estimate, str]:
    """Returns the Estimate of a mean difference from that of each seed, and its method.

    replicates: what a bootstrap over the validation images makes of the difference of a single seed; None without.
    """
    if len(differences) > 1:
        estimate = t_interval(differences)
        return estimate, PAIRED_T if estimate.low is not None else EQUAL
    if replicates is not None:
        return percentile_interval(differences[0], replicates), BOOTSTRAP
    return Estimate(differences[0]), NOTHING


def too_weak(pairs: Sequence[tuple[Run, Run]], question: Question, classes: int | None) -> str:
    """Returns why nothing can be said while a variant hardly learned; "" where both did."""
    if classes is None:
        return "the number of classes is not known"
    for name, runs in zip(question.names, zip(*pairs, strict=True), strict=True):
        top1 = sum(run.final["val_top1"] for run in runs) / len(runs)
        if top1 < learned_from(classes):
            return (f"{name} reaches {top1:.1f} % top-1, less than the {learned_from(classes):.3g} % from which on a "
                    "network counts as one that learned")
    return ""


def missing(group: Group, arch: str, question: Question, seeds: Sequence[int]) -> tuple[str, ...]:
    """Returns the seeds of either head that are left out, with their status: their absence may flatter a head."""
    statuses = {(run.config.head, run.config.seed): run.status for run in group.runs if run.config.arch == arch}
    others = sorted({seed for head, seed in statuses if head in (question.a, question.b)} - set(seeds))
    return tuple(f"seed {seed} of {head} ({statuses.get((head, seed), 'missing')})"
                 for seed in others for head in (question.a, question.b) if statuses.get((head, seed)) != DONE)
