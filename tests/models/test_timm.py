"""`--arch timm:NAME`: the wiring with a stand-in, the networks themselves where timm can be imported."""

import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from fasttrain import RunConfig, evaluate, load_run, run
from fasttrain.cli.main import main
from fasttrain.errors import ConfigError, Interrupted
from fasttrain.models import build_model
from fasttrain.registry import HEADS
from fasttrain.train.weights import load_weights
from tests.models.test_own import DATA, Stop

WORDS = ["--data", DATA, "--image-size", "32", "--batch-size", "8", "--device", "cpu", "--threads", "1",
         "--compile", "off"]


@pytest.fixture
def timm():
    """timm itself, where it can be imported: a torchvision that does not fit torch raises more than ImportError."""
    try:
        import timm
    except Exception as error:
        pytest.skip(f"timm cannot be imported: {error}")
    return timm


class Last(nn.Module):
    """A network whose features have their channels last, as Swin's."""

    num_features = 6

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, 8)

    def forward(self, x):
        return self.conv(x).movedim(1, 3)


@pytest.fixture
def fake(monkeypatch):
    """A module named timm with two networks."""
    def create_model(name, pretrained, num_classes, global_pool="avg"):
        assert pretrained is False
        if name == "broken":
            raise ValueError("no such block")
        net = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4)) if name == "convnet.a1_in1k" else Last()
        tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)] if global_pool else []
        return nn.Sequential(*net, *tail) if tail else net

    names = ("convnet.a1_in1k", "convlast", "broken")
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(
        create_model=create_model, is_model=names.__contains__, list_models=lambda: list(names)))


@pytest.mark.parametrize("head", [*HEADS.names(), "own"])
def test_a_reference_builds_features_for_a_head_or_logits(fake, head):
    first, again = (build_model("timm:convnet.a1_in1k", head, 7, 32, seed=1) for _ in range(2))
    assert first.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))
    assert RunConfig(arch="timm:convnet.a1_in1k", head=head).variant == f"timm-convnet.a1_in1k_{head}"


@pytest.mark.parametrize("arch, text", [
    ("timm:convlast", "returns [B, 4, 4, 6], no feature map [B, C, H, W] for --head origin"),
    ("timm:broken", "fails: ValueError: no such block"),
    ("timm:convnt.a1_in1k", "timm has no such network: did you mean timm:convnet.a1_in1k?"),
    ("timm:odd", "timm has no such network: timm.list_models() names all"),
    ("timm:", "neither package.module:factory nor FILE.py:factory nor timm:NAME"),
    ("timm:a/b", "nor timm:NAME"),
])
def test_what_is_no_network_is_one_line(fake, arch, text):
    with pytest.raises(ConfigError) as error:
        build_model(RunConfig(arch=arch).arch, "origin", 3, 32)
    assert text in str(error.value) and "\n" not in str(error.value)


def test_without_timm_one_line_names_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    assert main(["run", "--arch", "timm:resnet18", *WORDS, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "-m pip install --upgrade timm torchvision torch==2.13.0+cpu --extra-index-url " \
           "https://download.pytorch.org/whl/cpu" in error
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("head", [*HEADS.names(), "own"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "convnext_atto"])
def test_networks_of_timm_have_every_head_and_no_parameter_is_left_out(timm, name, head):
    model = build_model(f"timm:{name}", head, 7, 32, seed=0)
    model.eval()(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_torchvisions_names_fit(timm, tmp_path):
    torch.save(build_model("resnet18", "origin", 1000, seed=5).state_dict(), tmp_path / "w.pth")
    line = load_weights(build_model("timm:resnet18", "origin", 7, 32, seed=0), str(tmp_path / "w.pth"))
    assert line == "weights w.pth: 100 of 102 tensors; drawn anew: fc (another shape)"


def test_a_transformer_is_no_feature_map(timm):
    with pytest.raises(ConfigError, match="no feature map"):
        build_model("timm:vit_tiny_patch16_224", "origin", 3, 224)


def test_every_command_takes_it(timm, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--arch", "timm:resnet18", "--head", "maxpool", *WORDS, "--lr", "0.1"]
    with pytest.raises(Interrupted):
        run(RunConfig(arch="timm:resnet18", head="maxpool", data=DATA, image_size=32, batch_size=8, lr=0.1, epochs=2,
                      device="cpu", threads=1, compile="off", out="run"), sinks=[Stop()])
    assert main(["run", "--resume", "run"]) == 0 and len(load_run("run").rows) == 2
    assert evaluate("run")["val_top1"] == load_run("run").best["val_top1"]
    Image.new("RGB", (40, 32), "red").save("red.png")
    assert main(["predict", "run", "red.png"]) == 0
    assert main(["export", "run", "--to", "torch-export", "--out", "net.pt2"]) == 0
    assert main(["summary", *words[:4], "--classes", "3"]) == 0
    assert main(["profile", *words, "--out", "profile"]) == 0
