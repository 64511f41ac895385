"""Evaluating a checkpoint: what its run measured, to the bit, through every loader; and what is refused."""

import json
import math
import shutil

import pytest
import torch

from fasttrain import evaluate, seal
from fasttrain.cli.main import main
from fasttrain.data.loaders import missing
from fasttrain.errors import ConfigError, DataError
from fasttrain.registry import LOADERS
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.trained import load_trained
from tests.inference.conftest import DATA

KEYS = ("val_loss", "val_top1", "val_top5", "val_macro_f1")


def numbers(row):
    return {key: row[key] for key in KEYS}


@pytest.fixture(scope="module")
def light(finished):
    """The state of the best checkpoint without its weights: enough for what goes wrong before they are needed."""
    state = Checkpoints(finished.folder / "checkpoints").load("best")
    return {**state, "model": {}, "optimizer": {}}


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_checkpoint_measures_what_its_run_measured(finished, name):
    found = evaluate(finished.folder / "checkpoints" / f"{name}.pt")
    assert numbers(found) == numbers(finished.best if name == "best" else finished.final)
    assert (found["images"], found["classes"], found["variant"]) == (15, 3, "resnet18_dropout")


# FFCV compiles for many seconds; the contract suite holds its evaluation batches to be those of the others
def test_averaged_weights_are_what_is_measured_and_built(averaged):
    found = evaluate(averaged.folder)
    assert {key: averaged.final[key] for key in (*KEYS, "val_top1_tta")} == \
        {key: found[key] for key in (*KEYS, "val_top1_tta")}
    assert any("averaged" in note for note in found["notes"])
    state = Checkpoints(averaged.folder / "checkpoints").load("best")
    assert torch.equal(load_trained(averaged.folder).build().state_dict()["conv1.weight"], state["ema"]["conv1.weight"])
    assert not torch.equal(state["model"]["conv1.weight"], state["ema"]["conv1.weight"])
    assert "val_top1_tta" in (averaged.folder / "results.csv").read_text().splitlines()[0]


def test_mirror_images_can_be_asked_for(finished, capsys):
    assert "val_top1_tta" not in evaluate(finished.folder)
    assert main(["eval", str(finished.folder), "--tta"]) == 0
    assert f"top-1 {evaluate(finished.folder, tta=True)['val_top1_tta']:.2f} % with mirror" in capsys.readouterr().out


@pytest.mark.parametrize("loader", [name for name in LOADERS.names() if name not in ("constant", "ffcv")])
def test_every_loader_gives_the_same_numbers(finished, loader):
    if missing(loader):
        pytest.skip(f"{loader}: {missing(loader)}")
    assert numbers(evaluate(finished.folder, loader=loader)) == numbers(finished.best)


def test_the_ceiling_loader_evaluates_too(finished):
    found = evaluate(finished.folder, loader="constant")
    assert found["loader"] == "constant" and math.isfinite(found["val_loss"])  # one image may be certain: loss 0


def test_a_run_folder_stands_for_its_best_checkpoint_and_a_lone_file_will_do(finished, tmp_path):
    alone = shutil.copy(finished.folder / "checkpoints" / "best.pt", tmp_path / "renamed")
    for path in (finished.folder, finished.folder / "checkpoints", alone):
        assert numbers(evaluate(path)) == numbers(finished.best)


def test_training_images_come_as_they_are_and_limits_count(finished):
    whole, part = (evaluate(finished.folder, "train", limit_train=limit) for limit in (24, 6))
    assert (whole["images"], part["images"]) == (24, 6)
    assert whole["train_loss"] != part["train_loss"] > 0
    assert evaluate(finished.folder, limit_val=4)["images"] == 4


def test_other_batch_sizes_change_only_the_rounding(finished):
    found = evaluate(finished.folder, batch_size=15)
    assert numbers(found) == pytest.approx(numbers(finished.best), rel=1e-5)


def test_the_command_prints_and_writes_the_numbers(finished, tmp_path, capsys):
    file = tmp_path / "found.json"
    assert main(["eval", str(finished.folder), "--json", str(file)]) == 0
    assert numbers(json.loads(file.read_text())) == numbers(finished.best)
    out = capsys.readouterr().out
    assert f"top-1 {finished.best['val_top1']:.2f} %" in out and "15 val images of 3 classes" in out


def test_a_checkpoint_without_class_names_takes_them_from_its_data(finished, light, tmp_path):
    facts = ("classes", "class_names", "mean", "std")
    torch.save({**{key: light[key] for key in light if key not in facts}, "format": 1}, tmp_path / "old.pt")
    found, expected = load_trained(tmp_path / "old.pt"), load_trained(finished.folder)
    assert [getattr(found, key) for key in facts] == [getattr(expected, key) for key in facts]
    with pytest.raises(DataError, match="not what it was trained on"):
        evaluate(tmp_path / "old.pt", data=DATA + ",seed=1")


def bad_checkpoint(name, folder, state):
    """A path that holds no whole checkpoint, in the way that `name` says."""
    path = folder / f"{name}.pt"
    Checkpoints(folder).save(name, state)
    data = bytearray(path.read_bytes())
    if name == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif name == "cut":
        path.write_bytes(data[:-9])
    elif name == "gone":
        path.unlink()
    elif name == "folder":
        return folder
    else:
        (folder / "manifest.json").unlink()
        if name == "text":
            path.write_text("no checkpoint")
        elif name == "tensor":
            torch.save(torch.zeros(3), path)
        elif name == "part":
            path.write_bytes(data[:len(data) // 2])
    return path


@pytest.mark.parametrize("command", [["eval"], ["predict", "image.png"], ["export", "--out", "out"]])
@pytest.mark.parametrize("name, says", [
    ("gone", "gone.pt: No such file"), ("flipped", "sha256"), ("cut", "sha256"), ("part", "not a checkpoint"),
    ("text", "not a checkpoint"), ("tensor", "not a checkpoint"), ("folder", "no checkpoints/best.pt"),
])
def test_what_is_no_checkpoint_is_refused_in_one_line(command, name, says, light, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = bad_checkpoint(name, tmp_path, light)
    assert main([command[0], str(path), *command[1:]]) == 3
    err = capsys.readouterr().err
    assert says in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


class Code:
    def __reduce__(self):
        return print, ("code from a checkpoint ran",)


def test_code_in_a_checkpoint_never_runs(tmp_path, capsys):
    torch.save({"format": 1, "model": Code()}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="not a checkpoint"):
        evaluate(tmp_path / "x.pt")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("change, says", [
    ({"config": {}}, "weights are not those"), ({"config": {"arch": "resnet19"}}, "resnet19"),
    ({"config": {"new_key": 1}}, "new_key"), ({"config": {"arch": "resnet50"}}, "not those of a resnet50_dropout"),
    ({"data": None}, "data"), ({"rows": None}, "version"), ({"format": 3}, "version"),
])
def test_an_altered_checkpoint_is_refused_in_one_line(light, change, says, tmp_path):
    config = {**light["config"], **change.get("config", {})}
    state = {key: value for key, value in {**light, **change, "config": config}.items() if value is not None}
    if "data" in change:
        del state["classes"]
    torch.save(state, tmp_path / "x.pt")
    data = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(data + seal.line(data).encode())
    with pytest.raises(DataError, match=says) as error:
        evaluate(tmp_path / "x.pt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("words, code, says", [
    (["--data", "synthetic:classes=4,train=2,val=2,size=32"], 3, "trained on 3 classes, and n90000003 is none"),
    (["--classes", "2"], 3, "trained on 3 classes, and the data has 2"),
    (["--classes", "9"], 2, "--classes 9"),
    (["--split", "test"], 2, "--split"),
    (["--batch-size", "0"], 2, "batch_size"),
    (["--batch-size", "auto"], 2, "batch_size"),
    (["--loader", "residnt"], 2, "did you mean 'resident'"),
    (["--json", "/nowhere/x.json"], 2, "/nowhere/x.json"),
    (["--lr", "1"], 2, "unknown argument '--lr'"),
])
def test_what_cannot_be_evaluated_is_said_in_one_line(finished, capsys, words, code, says):
    assert main(["eval", str(finished.folder), *words]) == code
    *before, last = capsys.readouterr().err.splitlines()
    assert says in last and all(line.startswith("packed ") for line in before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(finished):
    with pytest.raises(ConfigError, match="no usable GPU"):
        evaluate(finished.folder, device="cuda")
