"""A part is one file and one registry line: toys of each kind are added that way, and everything knows them."""

import sys

import pytest
import yaml

from fasttrain import load_run, registry
from fasttrain.cli.flags import read_config
from fasttrain.cli.main import build_parser, main
from fasttrain.registry import split_variant, variants
from fasttrain.study.plan import names, plan

ARCH = '''
from torch import nn

class Small(nn.Module):
    def __init__(self, head, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.head = head
        for name, module in head.build(4, num_classes).items():
            self.add_module(name, module)

    def forward(self, x):
        return self.head.forward(self, self.body(x))

def small(head, num_classes, stem="standard"):
    return Small(head, num_classes)
'''

HEAD = '''
from torch import nn

class MedianHead:
    @staticmethod
    def build(channels, num_classes):
        return {"fc": nn.Linear(channels, num_classes)}

    @staticmethod
    def forward(net, features):
        return net.fc(features.flatten(2).median(2).values)
'''

OPTIMIZER = '''
from dataclasses import dataclass

import torch

from fasttrain.checks import number, setting
from fasttrain.train.optimizers import Optimizer

class SignDescent(torch.optim.Optimizer):
    def __init__(self, groups, lr, threshold):
        super().__init__(groups, {"lr": lr, "threshold": threshold})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad.sign() * (p.grad.abs() > group["threshold"]))

@dataclass(frozen=True)
class Sign(Optimizer):
    threshold: float = setting(number(0), 0.0)

    def build(self, groups, lr):
        return SignDescent(groups, lr, self.threshold)
'''

SCHEDULE = '''
from dataclasses import dataclass

from fasttrain.checks import number, setting
from fasttrain.train.schedules import Schedule

@dataclass(frozen=True)
class Flat(Schedule):
    height: float = setting(number(0, 1), 1.0)

    def share(self, progress, epoch):
        return self.height
'''

DATA = "synthetic:classes=3,train=6,val=4,size=32"
RUN = ["run", "--data", DATA, "--image-size", "32", "--device", "cpu", "--epochs", "2", "--batch-size", "6"]


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Adds a part: its file, and its line in a registry."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(parts, name, source, attribute):
        module = f"toy_{parts.kind}"
        (tmp_path / f"{module}.py").write_text(source)
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setitem(parts.entries, name, f"{module}:{attribute}")
    return add


@pytest.fixture
def toys(add):
    add(registry.ARCHS, "my_net", ARCH, "small")
    add(registry.HEADS, "my_head", HEAD, "MedianHead")
    add(registry.OPTIMIZERS, "sign", OPTIMIZER, "Sign")
    add(registry.SCHEDULES, "flat", SCHEDULE, "Flat")


def train(folder, *words):
    assert main([*RUN, "--out", str(folder), *words]) == 0
    return load_run(folder)


def test_an_arch_and_a_head_train_evaluate_and_export(toys, tmp_path, capsys):
    run = train(tmp_path / "run", "-a", "my_net_my_head", "--lr", "0.05")
    assert (run.config.arch, run.config.head, run.status, len(run.rows)) == ("my_net", "my_head", "done", 2)
    assert main(["eval", str(run.folder)]) == 0
    assert main(["export", str(run.folder), "--out", str(tmp_path / "net.safetensors")]) == 0
    assert main(["summary", "-a", "my_net_my_head", "--image-size", "32"]) == 0
    assert "body.0" in capsys.readouterr().out


@pytest.mark.parametrize("flags, found", [
    ({"arch": "my_net_maxpool"}, {"arch": "my_net", "head": "maxpool"}),
    ({"arch": "my_net_my_head"}, {"arch": "my_net", "head": "my_head"}),
    ({"arch": "resnet18_my_head"}, {"arch": "resnet18", "head": "my_head"}),
    ({"arch": "my_net"}, {}), ({"arch": "my_net", "head": "my_head"}, {}), ({}, {}),
])
def test_a_name_with_an_underscore_is_told_from_a_variant(toys, flags, found):
    assert split_variant(flags) == found
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    config = read_config(build_parser().parse_args(["run", *words]))
    assert (config.arch, config.head) == tuple({"arch": "resnet18", "head": "origin", **flags, **found}.values())


def test_a_misspelled_variant_is_one_line(toys, capsys):
    assert main(["run", "-a", "my_net_maxpol"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'my_net_maxpool'" in error


def test_variants_studies_and_help_know_new_names(toys, tmp_path, capsys):
    assert {"my_net_origin", "my_net_my_head", "resnet50_my_head"} <= set(variants())
    configs = plan(names("archs", "my_net"), names("heads", None), ["fast"], 1, str(tmp_path))
    assert [config.variant for config in configs] == ["my_net_origin", "my_net_maxpool", "my_net_dropout",
                                                      "my_net_my_head"]
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "my_net" in capsys.readouterr().out


def test_an_optimizer_and_a_schedule_train_with_keys_of_their_own(toys, tmp_path):
    run = train(tmp_path / "run", "-a", "my_net", "--lr", "0.01", "--set", "optimizer.name=sign",
                "--set", "optimizer.threshold=1e-6", "--set", "schedule.name=flat", "--set", "schedule.height=0.5")
    written = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert written["optimizer"] == {"name": "sign", "weight_decay": 1e-4, "decay_norm_and_bias": True,
                                    "threshold": 1e-6}
    assert written["schedule"] == {"name": "flat", "height": 0.5}
    assert [row["lr"] for row in run.rows] == [0.005, 0.005]
    assert run.rows[1]["train_loss"] != run.rows[0]["train_loss"]


@pytest.mark.parametrize("words, says", [
    (["--set", "optimizer.name=sgn"], "did you mean 'sign'?"),
    (["--set", "optimizer.name=sign"], "--lr"),
    (["--lr", "0.1", "--set", "optimizer.name=sign", "--set", "optimizer.momentum=0.9"], "sign has no such key"),
    (["--set", "optimizer.treshold=1"], "'optimizer.threshold'"),
    (["--lr", "0.1", "--set", "optimizer.name=sign", "--set", "optimizer.threshold=-1"], "optimizer.threshold"),
])
def test_wrong_settings_of_a_new_part_are_one_line(toys, words, says, capsys):
    assert main(["run", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and says in error


def test_what_ships_beside_the_recipes_trains_too(add, tmp_path):
    add(registry.ARCHS, "my_net", ARCH, "small")
    run = train(tmp_path / "run", "-a", "my_net", "--lr", "0.02", "--set", "optimizer.name=adamw",
                "--set", "schedule.name=cosine", "--set", "schedule.warmup=0.5")
    rates = [row["lr"] for row in run.rows]
    assert run.status == "done" and rates[0] == pytest.approx(0.02, rel=0.2) and rates[1] < 0.005
    assert run.rows[1]["train_loss"] < run.rows[0]["train_loss"]
