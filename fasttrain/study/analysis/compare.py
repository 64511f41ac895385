"""Two heads on one backbone, compared: paired differences, and the sentence that they allow."""

from typing import NamedTuple

from fasttrain.study.analysis.measures import METRICS, measure
from fasttrain.study.analysis.statistics import CONFIDENCE, Estimate, holm, percentile_interval, t_interval
from fasttrain.train.status import DONE

TIMES_CHANCE = 3
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
BOTH = "4. Do both hold in both backbones?"


class Comparison(NamedTuple):
    """How head a of a question did against head b on one backbone.

    verdict: "a" or "b" is better, "open" where they are not separable, "none" where nothing can be said. p_holm: p
    corrected for all comparisons of its family; None outside of one.
    """

    question: Question
    arch: str
    metric: str
    label: str
    estimate: Estimate
    n: int
    method: str
    verdict: str
    sentence: str
    p_holm: float | None = None

    @property
    def settled(self):
        """The verdict that the correction for several comparisons leaves."""
        lost = self.verdict in ("a", "b") and self.p_holm is not None and self.p_holm > 1 - CONFIDENCE
        return "open" if lost else self.verdict


def compare_all(group, arch, marks):
    """The Comparisons of every question by every metric on one backbone, as far as runs finished."""
    for question in QUESTIONS:
        ours, theirs = (group.finished(arch, head) for head in (question.a, question.b))
        seeds = sorted(ours.keys() & theirs.keys())
        if seeds:
            pairs = [(ours[seed], theirs[seed]) for seed in seeds]
            left_out = missing(group, arch, question, seeds)
            for metric in METRICS:
                comparison = compare(group, arch, question, pairs, metric, marks)
                yield comparison._replace(sentence=comparison.sentence + left_out)


def compare(group, arch, question, pairs, metric, marks):
    """The Comparison of two heads by one metric from pairs of runs with the same seed."""
    spec = METRICS[metric]
    label = spec.label.format(**marks._asdict())
    estimate, method = estimate_difference(group, pairs, metric, marks)
    weak = too_weak(pairs, question, group.chance)
    if weak or estimate.low is None:
        verdict = "none"
        why = weak or unknown(estimate, method, len(pairs), f"{estimate.mean:+.{spec.digits}f} {spec.unit}")
        sentence = f"no verdict in {arch} on {label}, {' against '.join(question.names)}: {why}"
    else:
        better = "a" if spec.better * estimate.mean > 0 else "b"
        verdict = better if estimate.separable else "open"
        sentence = tell(estimate, verdict, question, spec, marks, arch) + evidence(len(pairs), method, estimate.p)
    return Comparison(question, arch, metric, label, estimate, len(pairs), method, verdict, sentence)


def estimate_difference(group, pairs, metric, marks):
    """(Estimate of a - b, method) from pairs of runs with the same seed."""
    differences = [measure(a, marks)[metric] - measure(b, marks)[metric] for a, b in pairs]
    if len(pairs) > 1:
        estimate = t_interval(differences)
        return estimate, PAIRED_T if estimate.low is not None else EQUAL
    ours, theirs = (group.resampled(run).get(metric) for run in pairs[0])
    if ours is not None and theirs is not None:
        return percentile_interval(differences[0], ours - theirs), BOOTSTRAP
    return Estimate(differences[0]), NOTHING


def too_weak(pairs, question, chance):
    """Why nothing can be said while a variant hardly learned; "" where both did."""
    if chance is None:
        return "the number of classes is not known"
    for name, runs in zip(question.names, zip(*pairs, strict=True), strict=True):
        top1 = sum(run.final["val_top1"] for run in runs) / len(runs)
        if top1 < TIMES_CHANCE * chance:
            return f"{name} stands at {top1:.1f} %, below {TIMES_CHANCE} x chance ({TIMES_CHANCE * chance:.3g} %)"
    return ""


def unknown(estimate, method, n, difference):
    """Why a difference has no interval."""
    if method == NOTHING:
        return f"one seed tells a difference of {difference}, but no interval"
    if estimate.mean == 0:
        return f"the same for each of {n} seeds"
    return f"a difference of {difference} for each of {n} seeds, which gives no interval"


def tell(estimate, verdict, question, spec, marks, arch):
    """What an estimate with an interval says, and no more."""
    a, b = question.names
    values = marks._asdict()
    if verdict == "open":
        mean, low, high = (f"{bound:+.{spec.digits}f}" for bound in estimate[:3])
        return (f"{a} and {b} are not separable in {arch}: {spec.label.format(**values)} {mean} {spec.unit}, "
                f"95 % interval {low} to {high}")
    winner, loser = (a, b) if verdict == "a" else (b, a)
    size = amount(estimate, spec.digits)
    return f"{spec.wins.format(winner=winner, loser=loser, amount=size, **values)} in {arch}"


def evidence(n, method, p):
    """What a sentence adds in brackets: the number of seeds, the method where it is not the usual one, p."""
    how = "" if method == PAIRED_T else "; bootstrap over validation images, other seeds may differ"
    return f" (n={n}{how}, {p_text(p)})"


def p_text(p):
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def correct(comparisons):
    """The comparisons with p_holm for those of final top-1, told where a verdict does not survive it."""
    family = [c for c in comparisons if c.metric == "val_top1" and c.estimate.p is not None]
    adjusted = dict(zip(family, holm([c.estimate.p for c in family]), strict=True))
    for c in comparisons:
        c = c._replace(p_holm=adjusted.get(c))
        if c.settled != c.verdict:
            note = f"; not settled, since corrected for {len(family)} comparisons {p_text(c.p_holm)}"
            c = c._replace(sentence=c.sentence.replace(" beats ", " leads ") + note)
        yield c


def amount(estimate, digits):
    """The size of a difference: "3.1 ± 0.4", or with its interval where that is lopsided."""
    mean = abs(estimate.mean)
    low, high = sorted((abs(estimate.low), abs(estimate.high)))
    while round(high - low, digits) == 0 and digits < 6:
        digits += 1
    if abs((high - mean) - (mean - low)) < 10**-digits / 2:
        return f"{mean:.{digits}f} ± {(high - low) / 2:.{digits}f}"
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def missing(group, arch, question, seeds):
    """What a sentence adds where seeds of one of the two did not finish: their absence may flatter a variant."""
    statuses = {(run.config.head, run.config.seed): run.status for run in group.runs if run.config.arch == arch}
    other = sorted({seed for head, seed in statuses if head in (question.a, question.b)} - set(seeds))
    absent = [f"seed {seed} of {head} ({statuses.get((head, seed), 'missing')})"
              for seed in other for head in (question.a, question.b) if statuses.get((head, seed)) != DONE]
    return f"; left out: {', '.join(absent)}" if absent else ""
