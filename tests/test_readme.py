"""The README holds what it promises: its commands run, its flags exist, its Python runs, its pictures are there."""

import functools
import itertools
import re
import shlex
from pathlib import Path

import pytest

import fasttrain
from fasttrain.cli.flags import read_config
from fasttrain.cli.main import build_parser, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The data that stands in for a reader's own.
SMALL = "synthetic:classes=10,train=4,val=2"
# What makes a run of seconds of any: the flag that comes last wins.
CUT = ["--epochs", "1", "--limit-train", "20", "--limit-val", "20", "--batch-size", "10"]

CHEAP = ("summary", "completion", "env")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shown_commands():
    """The words of each `fasttrain` command in the README's blocks, those of `scripts/fasttrain` among them."""
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r"(?:^|\(|/)fasttrain ([^|)#]+)", line) for line in lines]
    return [shlex.split(match[1]) for match in found if match]


def inline_code():
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL))


def parsers(parser):
    """The parser and those of its sub-commands, by the words that lead there."""
    yield (), parser
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for name, command in action.choices.items():
                yield from (((name, *rest), found) for rest, found in parsers(command))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder in which a reader may type."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_two_commands_come_first():
    first = blocks("sh")[0].splitlines()
    assert first[0].startswith("scripts/fasttrain run --data synthetic")
    assert first[1].startswith("scripts/fasttrain run --arch resnet50 --head maxpool --data ")


@pytest.mark.parametrize("words", shown_commands(), ids=" ".join)
def test_every_command_parses(words):
    arguments = build_parser().parse_args(words)
    if hasattr(arguments, "sets"):
        read_config(arguments)


def test_every_command_and_flag_in_the_text_exists():
    known = dict(parsers(build_parser()))
    flags = {flag for parser in known.values() for flag in parser._option_string_actions}
    for code in inline_code():
        if code.startswith("fasttrain "):
            names = tuple(itertools.takewhile(lambda word: word[0] != "-", code.split()[1:]))
            grouped = any(path[:-1] == names[:1] != () for path in known)  # such as `data`, whose actions have names
            assert names[: 1 + grouped] in known, code
        if not code.startswith(("pip ", "tensorboard ")):
            assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", code)) <= flags, code


@pytest.mark.parametrize("words", [words for words in shown_commands() if words[0] in CHEAP], ids=" ".join)
def test_cheap_commands_as_printed(words, elsewhere):
    assert main(words) == 0


@pytest.mark.parametrize("words", [words for words in shown_commands() if words[0] == "run"], ids=" ".join)
def test_runs_as_printed_on_less_data(words, elsewhere):
    words[words.index("--data") + 1] = SMALL
    assert main([*words, *CUT]) == 0
    assert list(elsewhere.glob("runs/*/*/results.png"))


def test_the_real_data_command(real_data, elsewhere):
    words = shown_commands()[1]
    words[words.index("--data") + 1] = str(next(Path(real_data).glob("*part0.tar.xz"), real_data))
    assert main([*words, "--dry-run", "--limit-train", "20", "--limit-val", "20"]) == 0


def test_the_python_block_runs(elsewhere, monkeypatch):
    [code] = blocks("python")
    small = functools.partial(fasttrain.RunConfig, limit_train=20, limit_val=20, batch_size=10)
    monkeypatch.setattr(fasttrain, "RunConfig", small)
    exec(code, {})


def test_pictures_and_pages_exist():
    for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README):
        path = "".join(target)
        assert path.startswith("http") or (ROOT / path).exists(), path
