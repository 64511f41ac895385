"""Records: who holds one, what is refused, what is kept."""

import json

import numpy as np
import pytest

from fasttrain import RunConfig
from fasttrain.cli.main import main
from fasttrain.errors import ConfigError, DataError
from fasttrain.study.record import archive, race
from fasttrain.study.record.categories import CATEGORIES, Category
from fasttrain.study.record.trial import Trial
from fasttrain.study.record.verdict import judge, p_above

# one step of 200 images, one of each class
DATA = "synthetic:classes=200,train=1,val=1,size=32"
RACE = Category("race", 2, target=0.1)


def trials(top1, seconds=(100.0, 101.0, 99.0, 100.5, 99.5)):
    return [Trial(seed, one, time, 1.0, 2.0) for seed, (one, time) in enumerate(zip(top1, seconds, strict=False))]


@pytest.mark.parametrize("values, expected", [
    ([1.0, 2.0, 3.0], 0.03709),  # t = 3.464 with 2 degrees of freedom
    ([-1.0, -2.0, -3.0], 1 - 0.03709),
    ([0.5, 0.5], 0.0), ([0.0, 0.0], 1.0), ([-0.5, -0.5], 1.0), ([3.0], 1.0),
])
def test_the_one_sided_t_test(values, expected):
    assert p_above(values) == pytest.approx(expected, abs=2e-5)


def test_other_samples_help_to_estimate_the_spread():
    alone, pooled = p_above([0.1, 0.3]), p_above([0.1, 0.3], [[-0.1, 0.1], [0.1, -0.1]])
    # sums of squares 0.02 + 0.02 + 0.02 with 3 degrees of freedom: t = 0.2 / sqrt(0.02 / 2) = 2
    assert pooled == pytest.approx(0.0697, abs=1e-4) and pooled < alone


def verdicts(*given, **named):
    return {test.name: test.passed for test in judge(*given, **named)}


def test_the_first_entry_needs_the_accuracy_alone():
    good, level = trials([35.2, 35.3, 35.1, 35.4, 35.2]), trials([34.9, 34.8, 34.9, 35.0, 34.7])
    assert all(verdicts(CATEGORIES["original"], "seconds", good, None).values())
    assert verdicts(CATEGORIES["original"], "seconds", level, None)["top-1 of at least 34.87 %"] is False
    assert verdicts(CATEGORIES["original"], "seconds", good[:4], None)["seeds"] is False


def test_a_challenger_has_to_be_faster_pair_by_pair():
    holder = trials([35.2, 35.3, 35.1, 35.4, 35.2])
    faster = trials([35.2, 35.3, 35.1, 35.4, 35.2], (90.0, 91.5, 89.0, 90.1, 89.9))
    unclear = trials([35.2, 35.3, 35.1, 35.4, 35.2], (100.0, 99.0, 99.5, 101.0, 98.0))
    name = "fewer seconds than the holder"
    assert verdicts(CATEGORIES["original"], "seconds", faster, holder)[name]
    assert not verdicts(CATEGORIES["original"], "seconds", unclear, holder)[name]
    assert not verdicts(CATEGORIES["original"], "pflop", faster, holder)["fewer pflop than the holder"]


def test_the_most_accurate_run_within_a_cost():
    category, holder = CATEGORIES["30-epochs"], trials([52.0, 52.2, 51.9])
    better = trials([53.0, 53.1, 52.9])
    assert all(verdicts(category, "seconds", better, holder, limit=2.0).values())
    assert not all(verdicts(category, "seconds", better, holder, limit=1.9).values())
    assert not all(verdicts(category, "seconds", trials([52.0, 52.3, 51.9]), holder, limit=2.0).values())


@pytest.fixture
def clean(monkeypatch):
    """A checkout without changes, and a category that two tiny runs can win."""
    monkeypatch.setattr(race, "versions", lambda: {"commit": "0123456789ab", "cpu": "made up", "cores": 1,
                                                   "packages": {"torch": "2"}})
    monkeypatch.setitem(CATEGORIES, "race", RACE)


def test_the_command_says_who_holds_the_record(tmp_path, clean, monkeypatch, capsys):
    words = ["record", "race", "--records", str(tmp_path / "records"), "--out", str(tmp_path / "trials"),
             "--data", DATA, "--recipe", "fast", "--epochs", "1", "--batch-size", "100", "--image-size", "32",
             "--precision", "fp32"]
    found = iter([Trial(0, 5.0, 9.0, 0.0, 2.0), Trial(1, 5.1, 9.1, 0.0, 2.0)])
    monkeypatch.setattr(race, "trial", lambda config, *_: next(found))
    assert main([*words, "--name", "first"]) == 0
    assert "first holds the record now" in capsys.readouterr().out


def test_a_trial_is_run_timed_and_kept(tmp_path, clean):
    config = RunConfig(data=DATA, epochs=1, batch_size=100, image_size=32, precision="fp32", lr=0.1,
                       out=str(tmp_path / "trials"))
    records = tmp_path / "records"
    said = []
    category = Category("race", 1, epochs=1, full_epochs=1)
    assert race.challenge(category, config, "first", records, 1, said.append), said
    record, = archive.records(records, category)
    assert record.trials[0].seconds > 0.5 and record.settings["epochs"] == 1
    assert record.trials[0].pflop == pytest.approx(200 * 0.2172e-6, rel=0.02)  # resnet18 at 32 px: 0.217 GFLOP an image
    assert {path.name for path in record.folder.iterdir()} == {"record.json", "config.yaml", "rows-0.jsonl",
                                                               "log-0.txt"}
    assert archive.same_rows(record, 0, tmp_path / "trials" / "first-0")
    place = {"data": DATA, "out": str(tmp_path / "replay")}
    assert race.replay(category, records, place, said.append), said
    rows = record.folder / "rows-0.jsonl"
    changed = json.loads(rows.read_text())
    rows.write_text(json.dumps({**changed, "val_loss": np.nextafter(changed["val_loss"], 9)}) + "\n")
    assert not race.replay(category, records, place, said.append)


def test_what_is_refused(tmp_path, monkeypatch):
    config = RunConfig(data="synthetic:classes=4,train=4,val=4,size=32", epochs=31, image_size=32, out=str(tmp_path))
    for commit in (None, "0123456789ab-dirty"):
        monkeypatch.setattr(race, "versions", lambda commit=commit: {"commit": commit})
        with pytest.raises(ConfigError, match="checkout"):
            race.challenge(CATEGORIES["original"], config, "x", tmp_path / "records", 5)
    monkeypatch.setattr(race, "versions", lambda: {"commit": "0123456789ab"})
    with pytest.raises(DataError, match="4 classes"):
        race.challenge(CATEGORIES["original"], config, "x", tmp_path / "records", 5)
    with pytest.raises(ConfigError, match="31 are more than the 30"):
        race.challenge(CATEGORIES["30-epochs"], config.replace(data=DATA), "x", tmp_path / "records", 3)
    assert main(["record", "fastest"]) == 2
    assert not (tmp_path / "records").exists()


def test_a_damaged_record_is_named(tmp_path):
    folder = tmp_path / "original" / "2026-01-01-first"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{")
    with pytest.raises(DataError, match="no whole record"):
        archive.records(tmp_path, CATEGORIES["original"])
