"""Comparisons in words, and no more than their numbers allow."""

from collections.abc import Sequence

from fasttrain.study.analysis.compare import NOTHING, PAIRED_T, Comparison, Question
from fasttrain.study.analysis.measures import METRICS
from fasttrain.study.analysis.statistics import Estimate, t_interval


def sentence(parts: Sequence[str]) -> str:
    """Returns the parts as one sentence."""
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def tell(c: Comparison) -> str:
    """Returns what a Comparison shows, how sure that is, and which seeds are left out."""
    told = {"none": undecided, "open": inseparable}.get(c.verdict, won)(c)
    return "; left out: ".join([told, *filter(None, [", ".join(c.absent)])])


def undecided(c: Comparison) -> str:
    """Returns why nothing can be said."""
    return f"no verdict on {c.label} in {c.arch}, {' against '.join(c.question.names)}: {c.weak or no_interval(c)}"


def no_interval(c: Comparison) -> str:
    """Returns why a difference has no interval."""
    spec = METRICS[c.metric]
    difference = f"{c.estimate.mean:+.{spec.digits}f} {spec.unit}"
    if c.method == NOTHING:
        return f"one seed gives a difference of {difference} but no interval"
    if c.estimate.mean == 0:
        return f"there is no difference with any of {c.n} seeds"
    return f"the difference is {difference} with each of {c.n} seeds, which gives no interval"


def inseparable(c: Comparison) -> str:
    """Returns how far apart two heads are that cannot be told apart."""
    spec, (a, b) = METRICS[c.metric], c.question.names
    mean, low, high = (f"{bound:+.{spec.digits}f}" for bound in c.estimate[:3])
    return (f"{a} and {b} cannot be told apart in {c.arch}: {c.label} differs by {mean} {spec.unit}, 95 % interval "
            f"{low} to {high}{evidence(c)}")


def won(c: Comparison) -> str:
    """Returns who is better by how much."""
    spec, (a, b) = METRICS[c.metric], c.question.names
    winner, loser = (a, b) if c.verdict == "a" else (b, a)
    settled = c.settled == c.verdict
    told = spec.wins.format(winner=winner, loser=loser, amount=amount(c.estimate, spec.digits),
                            beats="beats" if settled else "leads", **c.group.milestones[c.arch]._asdict())
    note = "" if settled else f"; not settled: {p_text(c.p_holm)} after correction for {c.family} comparisons"
    return f"{told} in {c.arch}{evidence(c)}{note}"


def evidence(c: Comparison) -> str:
    """Returns the number of seeds and p, in brackets; the method too where it is not the usual one."""
    if c.method == PAIRED_T:
        return f" (n={c.n}, {p_text(c.estimate.p)})"
    return f" (n={c.n}, bootstrap over validation images, {p_text(c.estimate.p)}; other seeds may differ)"


def p_text(p: float) -> str:
    """Returns a p-value as text."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def amount(estimate: Estimate, digits: int) -> str:
    """Returns the size of a difference: "3.1 ± 0.4", or with its interval where that is lopsided."""
    mean = abs(estimate.mean)
    low, high = sorted((abs(estimate.low), abs(estimate.high)))
    while round(high - low, digits) == 0 and digits < 6:
        digits += 1
    if abs((high - mean) - (mean - low)) < 10**-digits / 2:
        return f"{mean:.{digits}f} ± {(high - low) / 2:.{digits}f}"
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def mean_text(values: Sequence[float], digits: int) -> str:
    """Returns "0.31 ± 0.05", or the mean alone where there is no interval."""
    e = t_interval(values)
    return f"{e.mean:.{digits}f}" + (f" ± {(e.high - e.low) / 2:.{digits}f}" if e.low is not None else "")


def untrained(question: Question, arch: str) -> str:
    """Returns why a question has no Comparison on a backbone."""
    return f"no verdict in {arch}: no seed finished with both {question.a} and {question.b}"
