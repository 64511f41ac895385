"""Run folders that earlier commits wrote (see `make.py`) go on, and are read, as if today's code had written them."""

import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from fasttrain import RunConfig, load_run
from fasttrain.cli.main import main

HERE = Path(__file__).parent
COMMON = "--epochs 3 --batch-size 4 --limit-val 10 --seed 7 --device cpu --precision fp32 --compile off"
COMMANDS = {
    "b0d9fea": "--head maxpool --recipe seed --data synthetic:classes=3,train=8,val=5,size=32 --image-size 32 "
               "--lr 0.001",
    "8e527fc": "--data synthetic:classes=3,train=8,val=5 --set sizes=32x1,48x1,64x1 --set tta=true",
}


@pytest.fixture(scope="module", params=COMMANDS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def old(name, tmp_path_factory):
    """The folder of a run that was stopped in its second epoch."""
    place = tmp_path_factory.mktemp(name)
    with tarfile.open(HERE / f"{name}.tar.xz") as archive:
        archive.extractall(place, filter="data")
    [folder] = place.glob("runs/*/1")
    return folder


@pytest.fixture(scope="module")
def resumed(name, old, tmp_path_factory):
    """A copy of it, which `fasttrain run --resume auto` found and finished."""
    place = tmp_path_factory.mktemp("resumed")
    shutil.copytree(old.parents[1], place / "runs")
    before = os.getcwd()
    os.chdir(place)
    try:
        code = main(["run", *COMMON.split(), *COMMANDS[name].split(), "--resume", "auto"])
    finally:
        os.chdir(before)
    assert code == 0
    assert [path.name for path in (place / "runs").glob("*/*")] == ["1"]
    return place / "runs" / old.parent.name / "1"


def test_it_loads_and_keys_that_it_lacks_take_their_defaults(old):
    run = load_run(old)
    assert run.status != "done" and len(run.rows) == 1
    written = yaml.safe_load((old / "config.yaml").read_text())
    today, plain = run.config.to_dict(), RunConfig(recipe=written["recipe"]).to_dict()
    for key, value in today.items():
        if isinstance(value, dict):
            for inner in value:
                assert value[inner] == written[key].get(inner, plain[key][inner]), (key, inner)
        elif key != "recipe":
            assert value == written.get(key, plain[key]), key


def test_it_resumes_to_the_rows_that_the_commit_itself_wrote(old, resumed):
    expected = [json.loads(line) for line in (old.parents[2] / "expected.jsonl").read_text().splitlines()]
    run = load_run(resumed)
    assert run.status == "done" and len(run.rows) == len(expected) == 3
    for row, wanted in zip(run.rows, expected, strict=True):
        assert (row["epoch"], row["step"]) == (wanted["epoch"], wanted["step"])
        assert row.get("train_image_size") == wanted.get("train_image_size", row.get("train_image_size"))
        # equal to the bit on the machine that wrote them; other CPUs sum in another order
        for key in ("lr", "train_loss", "val_loss"):
            assert row[key] == pytest.approx(wanted[key], rel=0.01), key
    assert len((resumed / "results.csv").read_text().splitlines()) == 4


def test_its_checkpoint_is_evaluated(old, tmp_path):
    assert main(["eval", str(old), "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["epoch"], found["images"], found["classes"]) == (1, 10, 3)
    assert np.isfinite(found["val_loss"]) and 0 <= found["val_top1"] <= 100


def test_its_checkpoint_names_what_it_sees(old, tmp_path):
    Image.fromarray(np.full((40, 50, 3), 99, np.uint8)).save(tmp_path / "gray.png")
    assert main(["predict", str(old), str(tmp_path / "gray.png"), "--json", str(tmp_path / "found.json")]) == 0
    [found] = json.loads((tmp_path / "found.json").read_text())
    assert {entry["name"] for entry in found["top"]} == set(load_run(old).environment["run"]["class_names"])


def test_its_checkpoint_is_exported(old, tmp_path):
    assert main(["export", str(old), "--out", str(tmp_path / "net.safetensors")]) == 0
    assert (tmp_path / "net.safetensors").stat().st_size > 40e6


def test_it_is_reported_on(resumed, tmp_path):
    assert main(["report", str(resumed), "--out", str(tmp_path / "report")]) == 0
    found = json.loads((tmp_path / "report" / "ablation.json").read_text())
    assert not found["left_out"]
    assert resumed.parent.name in (tmp_path / "report" / "report.md").read_text()
