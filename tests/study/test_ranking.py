"""The report on runs of any settings: what differs, who is ahead, what each key does."""

import json

import pytest

from fasttrain.cli.main import main
from fasttrain.study.analysis.choose import build
from fasttrain.study.analysis.collect import find_folders, read_runs
from tests.study.fabricate import make_row, make_run, predictions
from tests.study.studies import draw_small

# top-1 by (learning rate, flip), for each of three seeds: rates differ by 6 points, flips by 1 or less, either way
GRID = {(0.1, "none"): [70, 71, 72], (0.1, "random"): [71, 71, 71.1], (0.2, "none"): [76, 77.2, 78],
        (0.2, "random"): [77, 76.8, 77.1]}


def build_from(folder):
    return build(read_runs(find_folders([folder])[0])[0])


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    root = tmp_path_factory.mktemp("grid")
    for (lr, flip), finals in GRID.items():
        for seed, final in enumerate(finals):
            make_run(root / f"{lr}{flip}{seed}", "origin", seed, final, lr=lr, augment={"flip": flip})
    return root


def row(found, a):
    return next(own for own in found["comparisons"] if own["a"] == a)


def test_settings_are_ranked_and_held_against_one(grid):
    found = build_from(grid)
    assert [own["name"] for own in found["settings"]] == ["lr 0.2, flip none", "lr 0.2, flip random",
                                                          "lr 0.1, flip random", "lr 0.1, flip none"]
    assert [own["reference"] for own in found["settings"]] == [True, False, False, False]  # none is the recipe's
    assert [own["key"] for own in found["keys"]] == ["lr", "augment.flip"] and all(own["help"] for own in found["keys"])
    assert found["settings"][0]["numbers"]["val_top1"]["mean"] == pytest.approx(77.0667, abs=1e-4)


def test_what_a_key_does_is_averaged_over_the_other_keys_seed_by_seed(grid):
    found = build_from(grid)
    # 0.1 - 0.2: seed 0: (-6, -6), seed 1: (-6.2, -5.8), seed 2: (-6, -6): the same mean of -6 for each seed
    rate = row(found, "lr 0.1")
    assert (rate["question"], rate["b"], rate["n"]) == ("lr", "lr 0.2", 3)
    assert rate["difference"] == pytest.approx(-6) and rate["low"] is None and rate["verdict"] == "none"
    # random - none: seed 0: (1, 1), seed 1: (0, -0.4), seed 2: (-0.9, -0.9): -0.0333 +- 4.3027 * 0.9609 / sqrt(3)
    flip = row(found, "flip random")
    assert (flip["difference"], flip["low"], flip["high"]) == pytest.approx((-0.0333, -2.4203, 2.3537), abs=1e-3)
    assert flip["verdict"] == "open"


def test_the_recipes_own_setting_is_what_others_are_held_against(tmp_path):
    for flip, final in (("none", 80), ("random", 90), ("alternating", 70)):
        make_run(tmp_path / flip, "origin", final=final, augment={"flip": flip}, table=predictions(final))
    found = build_from(tmp_path)
    assert [(own["name"], own["reference"]) for own in found["settings"]] == [
        ("flip random", False), ("flip none", False), ("flip alternating", True)]
    assert all(own["b"] == "flip alternating" and own["settled"] == "a" for own in found["comparisons"])
    assert "paired bootstrap" in row(found, "flip random")["method"]


def test_of_many_keys_a_name_tells_those_that_differ_from_the_baseline(tmp_path):
    changes = [{}, {"augment": {"crop_padding": 0}}, {"schedule": {"name": "step", "period": 9, "gamma": 0.5}},
               {"ema": 0.99}, {"label_smoothing": 0.0}, {"tta": True}, {"lr": 0.3}]
    for number, change in enumerate(changes):
        make_run(tmp_path / str(number), "origin", final=80 + number, **change)
    found = build_from(tmp_path)
    assert {own["name"] for own in found["settings"]} == {
        "baseline", "crop_padding 0", "schedule step, period 9, gamma 0.5", "ema 0.99", "label_smoothing 0", "tta yes",
        "lr 0.3"}
    assert [own["name"] for own in found["settings"] if own["reference"]] == ["baseline"]
    assert {own["question"] for own in found["comparisons"]} == {"all settings"}


def test_there_is_no_verdict_between_two_that_learned_nothing(tmp_path):
    for lr, final in ((0.1, 20), (0.2, 40), (0.3, 90)):  # of four classes 43.75 % count as learned
        make_run(tmp_path / str(lr), "origin", final=final, lr=lr, table=predictions(final))
    best = build_from(tmp_path)
    assert [own["verdict"] for own in best["comparisons"]] == ["b", "b"]
    (tmp_path / "0.3" / "env.json").unlink()
    assert [own["verdict"] for own in build_from(tmp_path)["comparisons"]] == ["none"]


def test_other_heads_alone_ask_the_originals_questions(tmp_path):
    for head in ("origin", "maxpool"):
        make_run(tmp_path / head, head)
    assert build_from(tmp_path)["answers"]
    make_run(tmp_path / "other", "origin", lr=0.3)
    assert not build_from(tmp_path)["answers"]


def test_the_report_of_three_rates_says_nothing_of_heads(tmp_path, capsys, monkeypatch):
    draw_small(monkeypatch)
    for lr, final in ((0.1, 80), (0.2, 85), (0.3, 70)):
        make_run(tmp_path / "runs" / str(lr), "origin", final=final, lr=lr, table=predictions(final))
    make_run(tmp_path / "runs" / "cut", "origin", 1, rows=[make_row(1, 50.0)], lr=0.3)
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out.startswith("lr 0.2 ends highest: 85.0 % top-1 (mean of 1 seed).\n")
    html, markdown = ((tmp_path / "report" / f"report.{ending}").read_text() for ending in ("html", "md"))
    assert json.loads((tmp_path / "report" / "ablation.json").read_text())["comparisons"]
    for text in (html, markdown):
        assert "Which lr does best?" in text and "-15.0" in text and "interrupted" in text
        assert not any(word in text.lower() for word in ("pool", "alexnet", "resnet gain", "nan"))
    assert html.index('aria-label="differences"') < html.index('aria-label="top1"') < html.index("How to read")
    assert 'data-tip="lr 0.1, mean of 1 seed' in html and "lr 0.3, seed 1: interrupted" in html
