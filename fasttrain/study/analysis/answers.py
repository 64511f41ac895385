"""The original's four questions and its further claims, each answered by sentences made from comparisons."""

import math

from fasttrain.format import number
from fasttrain.study.analysis.compare import BOTH, QUESTIONS
from fasttrain.study.analysis.measures import METRICS, measure
from fasttrain.study.analysis.statistics import t_interval

POOLING, CLASSIFIER, STACK = QUESTIONS
RISE = 0.05  # nats; a smaller rise is within the noise of choosing the lowest of several epochs
NEAR_ZERO = 0.1  # nats above the lowest training loss that the labels allow
HOLDS = {"a": True, "b": False, "open": None, "none": None}


def answers(group, compared):
    """One dict for each question: `question`, `recipe`, `sentence`, `verdicts` {arch: verdict}.

    compared: {(question text, arch, metric): Comparison} of the group.
    """
    found = [answer(group, compared, question) for question in (POOLING, CLASSIFIER)]
    return [*found, answer_stack(group, compared), answer_both(group, found)]


def answer(group, compared, question):
    """What top-1 says on a question, backbone by backbone."""
    by_arch = {arch: compared.get((question.text, arch, "val_top1")) for arch in group.archs}
    sentences = [c.sentence if c else untrained(question, arch) for arch, c in by_arch.items()]
    return {"question": question.text, "recipe": group.label, "sentence": sentence(sentences),
            "verdicts": {arch: c.settled if c else "none" for arch, c in by_arch.items()}}


def untrained(question, arch):
    return f"no verdict in {arch}: no seed finished with both {question.a} and {question.b}"


def sentence(parts):
    """The parts as one sentence."""
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def answer_stack(group, compared):
    """The stack is needed where it beats both pooled heads, and not where one of these beats it."""
    verdicts, parts = {}, []
    for arch in group.archs:
        pairs = [compared.get((question.text, arch, "val_top1")) for question in (STACK, CLASSIFIER)]
        found = [c.settled if c else "none" for c in pairs]
        verdicts[arch] = "a" if "a" in found else "b" if found == ["b", "b"] else "none" if "none" in found else "open"
        telling = verdicts[arch] if verdicts[arch] in ("a", "none") else None
        told = "; ".join(c.sentence if c else untrained(question, arch)
                         for c, question in zip(pairs, (STACK, CLASSIFIER), strict=True)
                         if telling in (None, c.settled if c else "none"))
        word = {"a": f"no in {arch}: ", "b": f"yes in {arch}: ", "open": f"not settled in {arch}: ", "none": ""}
        parts.append(word[verdicts[arch]] + told)
    return {"question": STACK.text, "recipe": group.label, "sentence": sentence(parts), "verdicts": verdicts}


def answer_both(group, found):
    """Whether the answers to the first two questions are the same in all backbones."""
    parts, verdicts = [], {}
    for question, answered in zip((POOLING, CLASSIFIER), found, strict=True):
        by_arch = answered["verdicts"]
        told = ", ".join(f"{arch} {outcome(question, verdict)}" for arch, verdict in by_arch.items())
        kinds = set(by_arch.values())
        same = len(by_arch) > 1 and len(kinds) == 1 and kinds <= {"a", "b"}
        word = "holds in both" if same else "differs" if {"a", "b"} <= kinds else "not settled"
        if len(by_arch) == 1:
            word = "one backbone cannot tell"
        parts.append(f"{question.names[0]} against {question.names[1]}: {word} ({told})")
        verdicts[question.text] = "a" if same else "b" if word == "differs" else "open"
    return {"question": BOTH, "recipe": group.label, "sentence": sentence(parts), "verdicts": verdicts}


def outcome(question, verdict):
    names = dict(zip("ab", question.names, strict=True))
    return f"{names[verdict]} ahead" if verdict in names else {"open": "not separable", "none": "no verdict"}[verdict]


def claims(group, arch, compared, marks):
    """The original's further claims on one backbone: dicts of `claim`, `recipe`, `arch`, `sentence`, `holds`.

    holds: True, False, or None where the data cannot tell.
    """
    by_head = {head: list(group.finished(arch, head).values()) for head in heads(group, arch)}
    told = [
        by_comparison("origin converges faster than maxpool", compared, POOLING, arch, "epochs_to_level"),
        by_comparison("the MLP over-fits more", compared, CLASSIFIER, arch, "val_loss_rise"),
        falls_then_rises(by_head, marks),
        reaches_zero(by_head, group),
        by_comparison("dropout beats maxpool at small epochs", compared, STACK, arch, "early_val_top1", wanted="b"),
        leaders(by_head),
        same_ranks(by_head),
    ]
    return [{"claim": claim, "recipe": group.label, "arch": arch, "sentence": sentence([text]), "holds": holds}
            for claim, text, holds in filter(None, told)]


def heads(group, arch):
    """The heads that finished at least one run."""
    return list(dict.fromkeys(run.config.head for run in group.finished(arch)))


def by_comparison(claim, compared, question, arch, metric, wanted="a"):
    """A claim that one head is better, judged by a Comparison; None where there is none."""
    c = compared.get((question.text, arch, metric))
    if c is None:
        return None
    holds = HOLDS[c.verdict]
    return claim, c.sentence, holds if wanted == "a" or holds is None else not holds


def interval(values, digits):
    """"0.31 ± 0.05", or the mean alone where there is no interval."""
    e = t_interval(values)
    return f"{e.mean:.{digits}f}" + (f" ± {(e.high - e.low) / 2:.{digits}f}" if e.low is not None else "")


def falls_then_rises(by_head, marks):
    """Whether the validation loss has its minimum before the end and rises after it."""
    parts, kinds = [], set()
    for head, runs in by_head.items():
        found = [measure(run, marks) for run in runs]
        rises = [values["val_loss_rise"] for values in found]
        e = t_interval(rises)
        kinds.add(False if e.mean < RISE else True if e.low is not None and e.low > 0 else None)
        lowest = sum(values["val_loss_min_epoch"] for values in found) / len(found)
        parts.append(f"{head} lowest at epoch {lowest:.3g} of {runs[0].config.epochs}, then "
                     f"+{interval(rises, METRICS['val_loss_rise'].digits)} nats (n={len(runs)})")
    return "validation loss falls, then rises", "; ".join(parts), kinds.pop() if len(kinds) == 1 else None


def reaches_zero(by_head, group):
    """Whether the training loss comes near the lowest value that smoothed labels allow."""
    config, classes = group.runs[0].config, group.classes
    smoothing = config.label_smoothing or 0.0
    wrong = smoothing / classes if classes else 0.0
    right = 1 - smoothing + wrong
    lowest = -right * math.log(right) - ((classes - 1) * wrong * math.log(wrong) if wrong else 0.0)
    means = {head: sum(run.final["train_loss"] for run in runs) / len(runs) for head, runs in by_head.items()}
    told = ", ".join(f"{head} {mean:.2f}" for head, mean in means.items())
    floor = f" (label smoothing {smoothing:g} allows no less than {lowest:.2f})" if smoothing else ""
    return ("training loss goes to 0 for all", f"final training loss {told} nats{floor}",
            None if config.mix else all(mean < lowest + NEAR_ZERO for mean in means.values()))


def leaders(by_head):
    """Which head's mean top-1 leads in which epochs."""
    curves = {head: [sum(run.rows[epoch]["val_top1"] for run in runs) / len(runs)
                     for epoch in range(runs[0].config.epochs)] for head, runs in by_head.items()}
    if len(curves) < 2:
        return None
    spans = []
    for epoch in range(len(next(iter(curves.values())))):
        best = max(curves, key=lambda head: curves[head][epoch])
        if spans and spans[-1][0] == best:
            spans[-1][2] = epoch + 1
        else:
            spans.append([best, epoch + 1, epoch + 1])
    told = ", ".join(f"{head} at epoch{f's {a} to {b}' if b > a else f' {a}'}" for head, a, b in spans)
    return "which variant leads at which epoch", f"mean top-1 is highest for {told}; means only, no test", None


def same_ranks(by_head):
    """Whether macro-F1 puts the heads in the same order as top-1, by their means."""
    if len(by_head) < 2:
        return None
    orders = []
    for metric in ("val_top1", "val_macro_f1"):
        means = {head: sum(run.final[metric] for run in runs) / len(runs) for head, runs in by_head.items()}
        orders.append((sorted(means, key=means.get, reverse=True), means))
    told = [" > ".join(f"{head} ({number(means[head], '.1f')})" for head in order) for order, means in orders]
    same = orders[0][0] == orders[1][0]
    return ("macro-F1 ranks like top-1", f"by top-1 {told[0]}, by macro-F1 {told[1]}: "
            + ("the same order of means" if same else "another order of means"), same)
