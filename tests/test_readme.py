"""The README and the pages of docs/ keep their promises: commands run, flags exist, Python runs, links lead on."""

import functools
import itertools
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fasttrain
from fasttrain.cli.flags import read_config
from fasttrain.cli.main import build_parser, main
from fasttrain.registry import SCHEDULES
from fasttrain.train.schedules import learning_rate

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
         for path in [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/*.md"))]}
README = PAGES["README.md"]
# The data that stands in for a reader's own.
SMALL = "synthetic:classes=10,train=4,val=2"
# What makes any run one of seconds: the flag that comes last wins.
CUT = ["--epochs", "1", "--limit-train", "20", "--limit-val", "20", "--batch-size", "10"]
# Commands of a second or two, which run as printed; the others train, download, or start processes.
CHEAP = ("summary", "completion", "data", "eval", "predict", "export", "report", "runs")
SLOW = ("data fetch",)


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text):
    """The words of each `fasttrain` command in the `sh` blocks of a page, those of `scripts/fasttrain` among them."""
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r"(?:^|\(|/)fasttrain ([^|)#]+)", line) for line in lines]
    return [shlex.split(match[1]) for match in found if match]


def every_command():
    return [pytest.param(words, id=f"{page}: {' '.join(words)}") for page in PAGES for words in commands(PAGES[page])]


def cheap(words):
    return words[0] in CHEAP and " ".join(words[:2]) not in SLOW


def inline_code(text):
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


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


@pytest.fixture(scope="module")
def after_first_command(tmp_path_factory):
    """The folder in which the README's first command ran, on less data, with what the pages name beside it."""
    folder = tmp_path_factory.mktemp("reader")
    before = os.getcwd()
    os.chdir(folder)
    try:
        words = commands(README)[0]
        words[words.index("--data") + 1] = SMALL
        assert main([*words, *CUT]) == 0
    finally:
        os.chdir(before)
    Image.fromarray(np.full((90, 70, 3), 80, np.uint8)).save(folder / "photo.jpg")
    (folder / "study").symlink_to("runs")
    return folder


def test_the_two_commands_come_first():
    first = blocks(README, "sh")[0].splitlines()
    assert first[0].startswith("scripts/fasttrain run --data synthetic")
    assert first[1].startswith("scripts/fasttrain run --arch resnet50 --head maxpool --data ")


@pytest.mark.parametrize("words", every_command())
def test_every_command_parses(words, after_first_command, monkeypatch):
    monkeypatch.chdir(after_first_command)  # where the run folders are that `--resume` names
    arguments = build_parser().parse_args(words)
    if hasattr(arguments, "sets"):
        read_config(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_flag_in_the_text_exists(page):
    known = dict(parsers(build_parser()))
    flags = {flag for parser in known.values() for flag in parser._option_string_actions}
    for code in inline_code(PAGES[page]):
        if code.startswith("fasttrain "):
            names = tuple(itertools.takewhile(lambda word: word[0] != "-", code.split()[1:]))
            grouped = any(path[:-1] == names[:1] != () for path in known)  # such as `data`, whose actions have names
            assert names[: 1 + grouped] in known, code
        if code.startswith(("fasttrain ", "scripts/fasttrain ", "--")) and page != "CHANGELOG.md":
            assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", code)) <= flags, code
        if settings := re.findall(r"--set ([a-z_.]+=\S+)", code):
            fasttrain.RunConfig.load(sets=settings)


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(cheap, commands(PAGES[page])))])
def test_cheap_commands_run_as_printed_in_order(page, after_first_command, monkeypatch):
    monkeypatch.chdir(after_first_command)
    for words in filter(cheap, commands(PAGES[page])):
        assert main(words) == 0, words


def test_the_first_command_draws_its_curves(after_first_command):
    assert list(after_first_command.glob("runs/resnet18_origin/1/results.png"))


def test_the_second_command_on_less_data(elsewhere):
    words = commands(README)[1]
    words[words.index("--data") + 1] = SMALL
    assert main([*words, *CUT]) == 0
    assert list(elsewhere.glob("runs/resnet50_maxpool/1/results.png"))


def test_the_real_data_command(real_data, elsewhere):
    words = commands(README)[1]
    words[words.index("--data") + 1] = str(next(Path(real_data).glob("*part0.tar.xz"), real_data))
    assert main([*words, "--dry-run", "--limit-train", "20", "--limit-val", "20"]) == 0


@pytest.mark.parametrize("page, first", [("docs/train.md", 0), ("docs/extend.md", 1), ("docs/checkpoints.md", 0)])
def test_python_blocks_run(after_first_command, monkeypatch, page, first):
    monkeypatch.chdir(after_first_command)
    small = functools.partial(fasttrain.RunConfig, limit_train=20, limit_val=20, batch_size=10)
    monkeypatch.setattr(fasttrain, "RunConfig", small)
    codes = blocks(PAGES[page], "python")[first:]
    assert codes
    for code in codes:
        exec(code, {})


def test_the_example_of_a_schedule_works_as_one_file_and_one_line(elsewhere, monkeypatch):
    page = PAGES["docs/extend.md"]
    code = blocks(page, "python")[0]
    (elsewhere / "flat.py").write_text(code)
    monkeypatch.syspath_prepend(elsewhere)
    [(name, place)] = re.findall(r'`"(\w+)": "fasttrain\.train\.schedules\.(flat:\w+)",`', page)
    monkeypatch.setitem(SCHEDULES.entries, name, place)
    config = fasttrain.RunConfig.load(sets=["schedule.name=flat", "schedule.cooldown=0.5", "lr=1", "epochs=10"])
    assert [learning_rate(config, step, 1) for step in (0, 4, 7)] == [1, 1, pytest.approx(0.5)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("http"):
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / page).parent / path
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], target


def test_every_page_can_be_reached_from_the_readme():
    linked = {target for target in re.findall(r"\]\(([^)#\s]+)", README)}
    assert {page for page in PAGES if page.startswith("docs/")} <= linked


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/extend.md"])
def test_files_and_folders_that_guides_name_exist(page):
    named = {code for code in inline_code(PAGES[page]) if re.fullmatch(r"[\w.][\w./]*(\.py|\.yaml|/)", code)}
    assert len(named) > 5
    written = {"metrics.jsonl", "config.yaml", "fasttrain/train/schedules/flat.py"}  # not of the source tree
    assert [name for name in sorted(named - written)
            if not ((ROOT / name).exists() or (ROOT / "fasttrain" / name).exists())] == []


def test_every_promise_names_tests_that_there_are():
    known = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    rows = [line for line in PAGES["docs/reliability.md"].splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 17
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named and all(f"def {name}(" in known for name in named), row
