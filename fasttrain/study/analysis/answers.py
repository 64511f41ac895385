"""The original's four questions, each answered from comparisons by final top-1."""

from fasttrain.study.analysis.compare import QUESTIONS, Comparison, Question
from fasttrain.study.analysis.groups import Group
from fasttrain.study.analysis.sentences import sentence, tell, untrained

POOLING, CLASSIFIER, STACK = QUESTIONS
BOTH = "4. Do both hold in both backbones?"

Compared = dict[tuple[str, str, str], Comparison]


def answers(group: Group, compared: Compared) -> list[dict]:
    """Returns one dict for each question: `question`, `recipe`, `sentence`, `verdicts` {arch or question: verdict}.

    compared: see `compare.compare_group`. Verdicts are those of `Comparison.settled`.
    """
    found = [answer(group, compared, question) for question in (POOLING, CLASSIFIER)]
    return [*found, answer_stack(group, compared), answer_both(group, found)]


def answer(group: Group, compared: Compared, question: Question) -> dict:
    """Answers a question backbone by backbone."""
    pairs = [(arch, *judged(compared, question, arch)) for arch in group.archs]
    return {"question": question.text, "recipe": group.label, "sentence": sentence([told for _, _, told in pairs]),
            "verdicts": {arch: verdict for arch, verdict, _ in pairs}}


def judged(compared: Compared, question: Question, arch: str) -> tuple[str, str]:
    """Returns the verdict on a question by top-1 on one backbone, and the words for it."""
    c = compared.get((question.text, arch, "val_top1"))
    return (c.settled, tell(c)) if c else ("none", untrained(question, arch))


def answer_stack(group: Group, compared: Compared) -> dict:
    """Answers question 3: the stack is needed where it beats both pooled heads, and not where one of these beats it."""
    verdicts, parts = {}, []
    for arch in group.archs:
        pairs = [judged(compared, question, arch) for question in (STACK, CLASSIFIER)]
        found = [verdict for verdict, _ in pairs]
        verdict = "a" if "a" in found else "b" if found == ["b", "b"] else "none" if "none" in found else "open"
        telling = [told for own, told in pairs if verdict not in ("a", "none") or own == verdict]
        word = {"a": f"no in {arch}: ", "b": f"yes in {arch}: ", "open": f"not settled in {arch}: ", "none": ""}
        parts.append(word[verdict] + "; ".join(telling))
        verdicts[arch] = verdict
    return {"question": STACK.text, "recipe": group.label, "sentence": sentence(parts), "verdicts": verdicts}


def answer_both(group: Group, found: list[dict]) -> dict:
    """Answers question 4: "a" where the answer to a question is the same on all backbones, "b" where it differs."""
    parts, verdicts = [], {}
    for question, answered in zip((POOLING, CLASSIFIER), found, strict=True):
        by_arch = answered["verdicts"]
        kinds = set(by_arch.values())
        same = len(by_arch) > 1 and len(kinds) == 1 and kinds <= {"a", "b"}
        verdict = "a" if same else "b" if {"a", "b"} <= kinds else "open"
        word = {"a": "the same in all backbones", "b": "not the same", "open": "not settled"}[verdict]
        if len(by_arch) == 1:
            word = "only one backbone was trained"
        told = ", ".join(f"{arch}: {outcome(question, verdict)}" for arch, verdict in by_arch.items())
        parts.append(f"{question.names[0]} against {question.names[1]}: {word} ({told})")
        verdicts[question.text] = verdict
    return {"question": BOTH, "recipe": group.label, "sentence": sentence(parts), "verdicts": verdicts}


def outcome(question: Question, verdict: str) -> str:
    """Returns a verdict in two words."""
    a, b = question.names
    return {"a": f"{a} ahead", "b": f"{b} ahead", "open": "cannot be told apart", "none": "no verdict"}[verdict]
