"""Sweeps over any settings: which runs they have, what is refused, and that each run is what `fasttrain run` makes."""

from pathlib import Path

import pytest

from fasttrain.cli.main import main
from fasttrain.runs.run import load_run
from fasttrain.study.sweep import sweep
from fasttrain.train.rows import MEASURED

SMALL = ["--data", "synthetic:classes=3,train=8,val=4,size=32", "--image-size", "32", "--epochs", "1", "--batch-size",
         "4", "--device", "cpu", "--compile", "off"]
DECAY, FLIP = ["optimizer.weight_decay=1e-4,5e-4"], ["augment.flip=none,random"]


def names(configs):
    return [str(Path(config.out).relative_to("sweep")) for config in configs]


def test_a_grid_is_every_combination_seed_by_seed():
    configs = sweep([DECAY, FLIP], False, 2, "sweep")
    assert names(configs)[3:5] == ["optimizer.weight_decay=0.0005,augment.flip=random/seed-0",
                                   "optimizer.weight_decay=0.0001,augment.flip=none/seed-1"]
    assert [(c.optimizer.weight_decay, c.augment.flip, c.seed) for c in configs] == [
        (decay, flip, seed) for seed in (0, 1) for decay in (1e-4, 5e-4) for flip in ("none", "random")]
    assert {config.resume for config in configs} == {"auto"}


def test_pairs_are_each_value_alone_beside_a_baseline_and_none_twice():
    configs = sweep([DECAY, FLIP], True, 1, "sweep")  # 5e-4 is what the recipe has
    assert names(configs) == ["baseline/seed-0", "optimizer.weight_decay=0.0001/seed-0", "augment.flip=none/seed-0",
                              "augment.flip=random/seed-0"]


def test_keys_after_one_flag_change_together():
    configs = sweep([["augment.crop_padding=4,0", "augment.rrc_scale=0,0.35"], ["sizes=32:0.5,64:0.5;off"]], False, 1,
                    "sweep")
    assert [(c.augment.crop_padding, c.augment.rrc_scale, c.sizes) for c in configs] == [
        (4, 0, "32:0.5,64:0.5"), (4, 0, "off"), (0, 0.35, "32:0.5,64:0.5"), (0, 0.35, "off")]
    assert all(Path(config.out).parts[0] == "sweep" and len(Path(config.out).parts) == 3 for config in configs)


@pytest.mark.parametrize("words, says", [
    (["--vary", "flip=none"], "--vary flip=none: unknown key 'flip': did you mean 'augment.flip'?"),
    (["--vary", "augment.flip"], "needs the form key=value"),
    (["--vary", "lr=0.1,"], "--vary lr=0.1,: a value is empty"),
    (["--vary", "lr=[,1"], "not YAML"),
    (["--vary", "lr=0.1,x"], "--vary lr=x: lr: 'x' is not a number"),
    (["--vary", "lr=0.1,0.2", "clip=1"], "need as many values each, not 2 and 1"),
    (["--vary", "lr=0.1", "--vary", "lr=0.2"], "--vary lr: is varied twice"),
    (["--vary", "augment.rrc_scale=0,0.5"], "--vary augment.rrc_scale=0.5: augment.rrc_scale: one kind of"),
    (["--vary", "optimizer.name=sgd,adamw"], "has no learning rate for adamw"),
    (["--vary", "seed=1,2"], "a study sets seed itself"),
    (["--vary", "classes=2,3"], "changes the images that validate"),
    (["--vary", "lr=0.1", "--archs", "resnet18,resnet50"], "--vary arch=resnet18,resnet50"),
    (["--pairs"], "--vary KEY=A,B"),
    (["--vary", "lr=0.1,0.2", "--pairs", "--grid"], "not allowed with"),
])
def test_bad_flags_are_one_line_and_leave_nothing(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", *SMALL, *words]) == 2
    error = capsys.readouterr().err
    assert says in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_run_of_a_sweep_is_the_one_that_run_makes_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", *SMALL, "--vary", "augment.flip=random", "limit_train=12", "--seeds", "1"]) == 0
    assert main(["run", *SMALL, "--set", "augment.flip=random", "--limit-train", "12", "--out", "single"]) == 0
    mine, other = map(load_run, ("runs/sweep/augment.flip=random,limit_train=12/seed-0", "single"))
    assert mine.rows and told(mine) == told(other) and (mine.predictions == other.predictions).all()


def told(run):
    """The rows of a run without what is measured."""
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in run.rows]
