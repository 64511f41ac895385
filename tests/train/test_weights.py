"""`--weights`: what a run starts from, what it draws anew, and what is no weights for it."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fasttrain import RunConfig, load_run, run
from fasttrain.cli.main import main
from fasttrain.errors import ConfigError, DataError, Interrupted
from fasttrain.models import build_model
from fasttrain.registry import HEADS
from fasttrain.train.weights import load_weights, read_weights
from tests.models.test_own import Stop

SMALL = f"{Path(__file__).parents[2] / 'examples' / 'own_network.py'}:small"
DATA = "synthetic:classes=3,train=8,val=4,size=32"


@pytest.fixture(scope="module")
def torchvision():
    """A state dict as torchvision's resnet18 has it: of 1000 classes."""
    return build_model("resnet18", "origin", 1000, seed=5).state_dict()


def config(folder, **changes):
    return RunConfig(**{"arch": SMALL, "data": DATA, "image_size": 32, "device": "cpu", "precision": "fp32",
                        "compile": "off", "threads": 1, "batch_size": 8, "lr": 0.1, "epochs": 2, "out": str(folder),
                        **changes})


def still(folder, **changes):
    """The last checkpoint of a run whose weights stay where they began."""
    finished = run(config(folder, lr=1e-30, epochs=1, optimizer={"weight_decay": 0}, **changes), sinks=[])
    return torch.load(finished.folder / "checkpoints" / "last.pt", weights_only=True)


@pytest.mark.parametrize("head", HEADS.names())
def test_a_torchvision_state_dict_gives_all_but_the_classifier(torchvision, tmp_path, head):
    torch.save(torchvision, tmp_path / "resnet18.pth")
    model, fresh = (build_model("resnet18", head, 7, seed=0) for _ in range(2))
    line = load_weights(model, str(tmp_path / "resnet18.pth"))
    for name, tensor in model.state_dict().items():
        own = name.startswith(("fc", "classifier")) or name.endswith("num_batches_tracked")
        torch.testing.assert_close(tensor, fresh.state_dict()[name] if own else torchvision[name], rtol=0, atol=0)
    drawn = "classifier.1, classifier.4, classifier.6 (missing); not in the network: fc"
    drawn = drawn if head == "dropout" else "fc (another shape)"
    total = 100 + (6 if head == "dropout" else 2)
    assert line == f"weights resnet18.pth: 100 of {total} tensors; drawn anew: {drawn}"


@pytest.mark.parametrize("pack", [
    lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 90},
    lambda state: {"model": {f"_orig_mod.module.{name}": value for name, value in state.items()}, "args": {"lr": 1.0}},
    lambda state: {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
])
def test_wrappers_and_checkpoints_of_other_programs_are_unwrapped(torchvision, tmp_path, pack):
    torch.save(pack(torchvision), tmp_path / "w.pt")
    model = build_model("resnet18", "origin", 1000, seed=0)
    assert load_weights(model, str(tmp_path / "w.pt")) == "weights w.pt: 102 of 102 tensors"
    torch.testing.assert_close(model.fc.weight, torchvision["fc.weight"], rtol=1e-3, atol=1e-4)


def test_another_stem_is_drawn_anew_and_what_nobody_knows_is_named(torchvision, tmp_path):
    extra = {f"aux.{number}.weight": torch.zeros(1) for number in range(8)}
    save_file({**torchvision, **extra}, tmp_path / "w.safetensors")
    line = load_weights(build_model("resnet18", "origin", 1000, stem="small"), str(tmp_path / "w.safetensors"))
    assert line == ("weights w.safetensors: 101 of 102 tensors; drawn anew: conv1 (another shape); "
                    "not in the network: aux.0, aux.1, aux.2, aux.3, aux.4, aux.5 and 2 more")


def test_names_with_and_without_the_prefix_of_networks_of_ones_own_are_the_same(tmp_path):
    bare, own = nn.Sequential(nn.Conv2d(3, 4, 3)), build_model(SMALL, "origin", 3, 32, seed=1)
    torch.save(own.net.state_dict(), tmp_path / "bare.pt")
    torch.save(own.state_dict(), tmp_path / "own.pt")
    other = build_model(SMALL, "maxpool", 3, 32, seed=2)
    assert load_weights(other, str(tmp_path / "bare.pt")).endswith("15 of 17 tensors; drawn anew: fc (missing)")
    assert torch.equal(other.net[0].weight, own.net[0].weight)
    torch.save({"net.0.weight": bare[0].weight.data, "net.0.bias": bare[0].bias.data}, tmp_path / "net.pt")
    assert load_weights(bare, str(tmp_path / "net.pt")).endswith("2 of 2 tensors")


def test_a_run_starts_from_another_runs_best_weights_the_averaged_ones(tmp_path):
    first = run(config(tmp_path / "first", ema=0.5), sinks=[])
    best = torch.load(first.folder / "checkpoints" / "best.pt", weights_only=True)
    for source in (first.folder, first.folder / "checkpoints" / "best.pt"):
        state = still(tmp_path / "from" / source.name, weights=str(source), head="maxpool", ema=0.0)
        for name in ("net.0.weight", "net.6.weight", "fc.weight"):
            torch.testing.assert_close(state["model"][name], best["ema"][name], rtol=0, atol=0)
        assert state["origin"] == f"weights {source.name}: 17 of 17 tensors"


def test_a_resumed_run_does_not_read_them_again_and_still_tells_of_them(tmp_path, capsys):
    file = tmp_path / "w.pt"
    torch.save(build_model(SMALL, "origin", 9, 32, seed=5).state_dict(), file)
    told = "weights w.pt: 15 of 17 tensors; drawn anew: fc (another shape)"
    straight = run(config(tmp_path / "straight", weights=str(file)))
    assert told in capsys.readouterr().out.replace("\n            ", " ")
    parts = config(tmp_path / "parts", weights=str(file))
    with pytest.raises(Interrupted):
        run(parts, callbacks=[Stop()])
    file.unlink()
    resumed = run(parts.replace(resume="auto"))
    assert [row["val_loss"] for row in resumed.rows] == [row["val_loss"] for row in straight.rows]
    for folder in ("straight", "parts"):
        assert told in load_run(tmp_path / folder).facts["notes"]
        assert load_run(tmp_path / folder).config.weights == str(file)
    assert told in (tmp_path / "straight" / "log.txt").read_text().replace("\n            ", " ")


def resnet(name):
    return build_model(name, "origin", 3).state_dict()


@pytest.mark.parametrize("make, code, text", [
    (lambda path: torch.save(resnet("resnet50"), path), 2, "of another network: 9 of this one's 21 kernels"),
    (lambda path: torch.save(nn.Linear(3, 3).state_dict(), path), 2, "of another network: 0 of this one's 21"),
    (lambda path: torch.save(nn.Linear(3, 3), path), 3, "no file of weights alone"),
    (lambda path: torch.save([torch.zeros(3)], path), 3, "holds no tensors by name"),
    (lambda path: torch.save({"state_dict": {"epoch": 3}}, path), 3, "holds no tensors by name"),
    (lambda path: path.write_bytes(b"PK\x03\x04cut"), 3, "damaged, or no file of weights alone"),
    (lambda path: None, 3, "No such file"),
    (lambda path: path.mkdir(), 3, "holds no checkpoints/best.pt"),
])
def test_what_is_no_weights_for_this_network_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, make, code,
                                                                           text):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "w.pt")
    assert main(["run", "--weights", "w.pt", "--data", DATA, "--image-size", "32"]) == code
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_a_damaged_safetensors_file_and_a_missing_package(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(b"12345678cut")
    with pytest.raises(DataError, match="damaged"):
        read_weights(str(tmp_path / "w.safetensors"))
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ConfigError, match="pip install safetensors"):
        read_weights(str(tmp_path / "w.safetensors"))


def test_a_path_becomes_absolute_and_is_part_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = RunConfig(weights="w.pt")
    assert found.weights == str(tmp_path / "w.pt") and f"--weights {tmp_path}/w.pt" in found.command()
    assert json.dumps(found.to_dict()) and RunConfig(weights=None).command().count("--weights") == 0
