"""ablation.json from made-up run folders: what may be said, what may not, and who is left out."""

import json

import numpy as np
import pytest

from fasttrain.runs.run import load_run
from fasttrain.study.analysis.ablation import build_ablation, write_ablation
from fasttrain.study.analysis.collect import find_folders, read_runs
from fasttrain.study.analysis.groups import group_runs
from tests.study.fabricate import environment, make_row, make_run, make_study, predictions


def build(*paths):
    folders, missing = find_folders(paths)
    runs, left_out = read_runs(folders)
    return build_ablation(runs, left_out=missing + left_out)


def comparison(ablation, a, b, arch="resnet18", metric="val_top1"):
    return next(row for row in ablation["comparisons"]
                if (row["a"], row["b"], row["arch"], row["metric"]) == (a, b, arch, metric))


STUDY = {("resnet18", "origin"): [85, 86, 85.5], ("resnet18", "maxpool"): [82, 82.4, 82.7],
         ("resnet18", "dropout"): [80, 87, 83], ("resnet50", "origin"): [85, 86, 85.5],
         ("resnet50", "maxpool"): [84, 86.4, 85.7], ("resnet50", "dropout"): [81, 82, 80.7]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    make_study(root, STUDY)
    return build(root)


def test_the_form_of_the_file(study, tmp_path):
    write_ablation(study, tmp_path)
    read = json.loads((tmp_path / "ablation.json").read_text())
    assert len(read["runs"]) == 18 and not read["left_out"]
    assert {"arch", "head", "seed", "recipe", "status", "epochs", "final", "best", "folder"} <= read["runs"][0].keys()
    assert {"arch", "head", "recipe", "n", "metric", "mean", "low", "high"} <= read["variants"][0].keys()
    assert {"question", "arch", "a", "b", "metric", "difference", "low", "high", "p", "n", "method",
            "sentence"} <= read["comparisons"][0].keys()
    assert {row["recipe"] for row in read["answers"]} == {"fast"} and len(read["answers"]) == 4
    assert read["original"]["results"] == []


def test_intervals_stay_within_what_is_possible(tmp_path):
    make_study(tmp_path, {("resnet18", "origin"): [90, 99], ("resnet18", "maxpool"): [60, 99]}, seeds=2)
    found = build(tmp_path)
    tops = {(row["head"], row["metric"]): (row["low"], row["high"]) for row in found["variants"]}
    assert tops["origin", "val_top1"][1] == 100 and tops["maxpool", "val_macro_f1"] == (0, 100)
    for row in found["variants"]:
        assert row["low"] is None or row["low"] >= 0
    row = comparison(found, "origin", "maxpool")
    assert (row["low"], row["high"], row["verdict"]) == (-100, 100, "open")


def test_the_originals_numbers_belong_to_the_whole_tiny_imagenet_alone(tmp_path):
    folder = make_run(tmp_path / "run", "origin")
    assert build(tmp_path)["original"]["results"] == []
    facts = json.loads((folder / "env.json").read_text())
    known = ["goldfish, Carassius auratus", "bullfrog", "espresso"]
    for names, expected in (([*known, *(f"class {k}" for k in range(197))], 6), (known, 0),
                            ([f"class {k}" for k in range(200)], 0)):
        facts["run"]["class_names"] = names
        (folder / "env.json").write_text(json.dumps(facts))
        assert len(build(tmp_path)["original"]["results"]) == expected


def test_differences_are_paired_by_seed(study):
    row = comparison(study, "origin", "maxpool")
    # differences 3.0, 3.6, 2.8: mean 3.1333, s = 0.41633, x 4.3027 / sqrt(3) = 1.0342
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((3.1333, 2.0991, 4.1676), abs=1e-4)
    assert row["n"] == 3 and row["method"] == "paired t over seeds" and row["verdict"] == "a"
    assert "avg beats max by 3.1 ± 1.0" in row["sentence"] and "(n=3, p = 0.0058)" in row["sentence"]
    assert row["p_holm"] == pytest.approx(5 * row["p"])  # one of six is smaller


def test_a_lower_loss_wins(study):
    row = comparison(study, "origin", "maxpool", metric="val_loss")
    assert row["difference"] < 0 and row["verdict"] == "a"
    assert row["difference"] == pytest.approx(-0.0627, abs=1e-4) and "0.063" in row["sentence"]


def test_what_is_not_separable_is_called_so(study):
    row = comparison(study, "origin", "maxpool", "resnet50")
    assert row["low"] < 0 < row["high"] and row["verdict"] == "open"
    assert "beats" not in row["sentence"] and "resnet50" in row["sentence"]


def test_the_four_questions_are_answered_from_the_verdicts(study):
    pooling, classifier, stack, both = study["answers"]
    assert pooling["verdicts"] == {"resnet18": "a", "resnet50": "open"}
    assert classifier["verdicts"] == {"resnet18": "open", "resnet50": "a"}
    assert stack["verdicts"] == {"resnet18": "open", "resnet50": "a"}
    assert both["verdicts"] == {pooling["question"]: "open", classifier["question"]: "open"}


def test_a_verdict_that_the_correction_takes_back_answers_no_question(tmp_path):
    """p = 0.04 alone, 0.12 among the three comparisons of the backbone."""
    make_study(tmp_path, {("resnet18", "origin"): [88, 90.5, 90.5], ("resnet18", "maxpool"): [85.5, 87, 88.5],
                          ("resnet18", "dropout"): [86, 87, 91]})
    ablation = build(tmp_path)
    row = comparison(ablation, "origin", "maxpool")
    assert row["p"] < 0.05 < row["p_holm"] and (row["verdict"], row["settled"]) == ("a", "open")
    assert "3 comparisons" in row["sentence"] and "beats" not in row["sentence"]
    assert [answer["verdicts"]["resnet18"] for answer in ablation["answers"][:3]] == ["open"] * 3
    assert set(ablation["answers"][3]["verdicts"].values()) == {"open"}


def test_one_seed_is_a_bootstrap_over_images_and_named_so(tmp_path):
    for head, top1 in (("origin", 90), ("maxpool", 80), ("dropout", 79.5)):
        make_run(tmp_path / head, head, final=top1, table=predictions(top1, shift=int(top1 > 79.5)))
    ablation = build(tmp_path)
    row = comparison(ablation, "origin", "maxpool")
    # 20 of 200 images differ, all in favour of origin: a standard error of sqrt(.1 * .9 / 200) = 2.1 points
    assert row["method"] == "paired bootstrap over validation images" and row["difference"] == pytest.approx(10)
    assert (row["low"], row["high"]) == pytest.approx((6, 14.2), abs=0.8)
    assert row["verdict"] == row["settled"] == "a"
    assert comparison(ablation, "maxpool", "dropout")["verdict"] == "open"
    assert comparison(ablation, "origin", "maxpool", metric="val_macro_f1")["low"] > 0
    loss = comparison(ablation, "origin", "maxpool", metric="val_loss")
    assert loss["low"] is None and loss["verdict"] == "none" and "one seed" in loss["sentence"]
    means = {(row["head"], row["metric"]): row for row in ablation["variants"]}
    assert means["origin", "val_top1"]["low"] < 90 < means["origin", "val_top1"]["high"]


def alter(path, images=slice(None), **values):
    """Writes a table of predictions with fewer images, or with other values at its first image."""
    table = predictions(80)[images]
    for name, value in values.items():
        table[name][0] = value
    np.save(path, table)


@pytest.mark.parametrize("damage", [
    lambda path: None, lambda path: path.write_bytes(b"no array"), lambda path: alter(path, label=5000),
    lambda path: alter(path, predicted=-2), lambda path: alter(path, images=slice(9))])
def test_one_seed_without_predictions_allows_no_verdict(tmp_path, damage):
    for head, top1 in (("origin", 90), ("maxpool", 80)):
        damage(make_run(tmp_path / head, head, final=top1) / "predictions.npy")
    row = comparison(build(tmp_path), "origin", "maxpool")
    assert row["difference"] == 10 and row["low"] is None and row["p"] is None and row["verdict"] == "none"
    assert "+10.0 points" in row["sentence"]


def test_no_verdict_on_what_hardly_learned(tmp_path):
    make_study(tmp_path, {("resnet18", "origin"): [90, 91, 92], ("resnet18", "maxpool"): [40, 41.5, 42]})
    ablation = build(tmp_path)
    row = comparison(ablation, "origin", "maxpool")
    assert row["low"] > 0 and row["verdict"] == "none"
    assert "max reaches 41.2 % top-1, less than the 43.8 %" in row["sentence"]
    assert all(answer["verdicts"].get("resnet18", "none") == "none" for answer in ablation["answers"][:3])


def test_only_equal_settings_are_compared_and_each_group_is_named(tmp_path):
    make_run(tmp_path / "a", "origin", epochs=5)
    make_run(tmp_path / "b", "maxpool", epochs=6)
    make_run(tmp_path / "c", "dropout", epochs=6, stem="small")
    ablation = build(tmp_path)
    assert not ablation["comparisons"]
    assert {row["recipe"] for row in ablation["runs"]} == {
        "fast (stem standard, epochs 5)", "fast (stem standard, epochs 6)", "fast (stem small, epochs 6)"}
    assert [row["verdicts"] for row in ablation["answers"][:1]] == [{"resnet18": "none"}]


def test_interrupted_and_diverged_seeds_are_rows_and_are_named(tmp_path):
    make_study(tmp_path, {("resnet18", "origin"): [85, 86, 87, 88], ("resnet18", "maxpool"): [80, 81, 82, 83]}, seeds=2)
    make_run(tmp_path / "cut", "maxpool", 2, rows=[make_row(1, 50.0)])
    make_run(tmp_path / "diverged", "origin", 3, rows=[make_row(1, 50.0, train_loss=None)])
    ablation = build(tmp_path)
    assert sorted(row["status"] for row in ablation["runs"]) == ["diverged", *["done"] * 4, "interrupted"]
    row = comparison(ablation, "origin", "maxpool")
    assert row["n"] == 2
    assert row["sentence"].endswith("left out: seed 2 of origin (missing), seed 2 of maxpool (interrupted), "
                                    "seed 3 of origin (diverged), seed 3 of maxpool (missing)")


def test_what_cannot_be_told_about_is_left_out_in_a_line(tmp_path):
    make_run(tmp_path / "good" / "0", "origin", 0)
    make_run(tmp_path / "good" / "1", "origin", 1)
    make_run(tmp_path / "twin", "origin", 1)
    make_run(tmp_path / "other", "origin", 2, fingerprints={"train": "1f", "val": "other"})
    make_run(tmp_path / "gap", "origin", 3, rows=[make_row(1, 50.0), make_row(3, 60.0)])
    make_run(tmp_path / "cell", "origin", 4, rows=[make_row(1, 50.0, val_loss="low")])
    (make_run(tmp_path / "config", "origin", 5) / "config.yaml").write_text("epochs: [")
    (make_run(tmp_path / "noconfig", "origin", 6) / "config.yaml").unlink()
    (make_run(tmp_path / "env", "origin", 7) / "env.json").write_text("{")
    (make_run(tmp_path / "empty", "origin", 8) / "metrics.jsonl").write_text("")
    (make_run(tmp_path / "unknown", "origin", 9) / "env.json").write_text(json.dumps(environment()))
    (tmp_path / "hollow").mkdir()
    ablation = build(tmp_path, tmp_path / "hollow", tmp_path / "nowhere")
    assert len(ablation["runs"]) == 2
    said = {line.split(":")[0].rpartition("/")[2]: line for line in ablation["left_out"]}
    assert said.keys() == {"twin", "other", "gap", "cell", "config", "noconfig", "env", "empty", "unknown", "hollow",
                           "nowhere"}
    assert "other images" in said["other"] and "damaged at epoch 2" in said["gap"] and "empty" in said["empty"]
    assert all("\n" not in line for line in ablation["left_out"])


def test_the_claims_tell_numbers_and_what_they_show(tmp_path):
    def rising(seed):
        return [make_row(n, 80 + n, val_loss=loss, train_loss=0.01)
                for n, loss in enumerate((1.0, 0.5 + seed / 50, 0.6, 0.9), 1)]

    for seed in range(3):
        make_run(tmp_path / f"o{seed}", "origin", seed, rows=rising(seed), epochs=4, label_smoothing=0.0)
        make_run(tmp_path / f"m{seed}", "maxpool", seed, rows=rising(2 * seed), epochs=4, label_smoothing=0.0)
    claims = {row["claim"]: row for row in build(tmp_path)["claims"]}
    falls = claims["validation loss falls, then rises"]
    assert falls["holds"] is True and "epoch 2 of 4" in falls["sentence"] and "0.380 ± 0.050 nats" in falls["sentence"]
    assert claims["training loss goes to 0 for all"]["holds"] is True
    assert claims["macro-F1 ranks like top-1"]["holds"] is True
    assert claims["origin converges faster than maxpool"]["holds"] is None
    assert "highest for origin at epochs 1 to 4" in claims["which variant leads at which epoch"]["sentence"]


def test_runs_with_other_numbers_of_threads_are_compared(tmp_path):
    runs = [load_run(make_run(tmp_path / str(seed), "origin", seed, threads=number))
            for seed, number in enumerate((None, 1, 2))]
    groups, repeated = group_runs(runs)
    assert [len(group.runs) for group in groups] == [3] and not repeated
