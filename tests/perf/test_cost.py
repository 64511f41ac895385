"""What a training step computes and moves, against a count of every tensor made by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fasttrain import RunConfig
from fasttrain.models import new_network
from fasttrain.perf.cost import cost_of, optimizer_bytes, step_cost, training_cost, weight_share
from fasttrain.perf.summary import summarize_model
from fasttrain.runtime import resolve
from fasttrain.train.step import Step
from tests.helpers import make_split


@pytest.mark.parametrize("arch, stem, flops, eager, fused", [
    ("resnet18", "standard", 0.869e9, 8.67e6, 5.78e6), ("resnet50", "standard", 1.983e9, 38.9e6, 27.1e6),
    ("resnet18", "small", 13.3e9, 105e6, 74.5e6), ("resnet50", "small", 31.1e9, 589e6, 416e6),
])
def test_costs_agree_with_a_count_of_every_tensor(arch, stem, flops, eager, fused):
    costs = [training_cost(arch, "origin", 200, 64, stem, torch.bfloat16, kernels) for kernels in (False, True)]
    assert [cost.flops for cost in costs] == pytest.approx([flops] * 2, rel=0.003)
    assert [cost.bytes for cost in costs] == pytest.approx([eager, fused], rel=0.04)
    assert costs[0].of_step(2) == (2 * costs[0].flops, 2 * costs[0].bytes + costs[0].weight_bytes)


def test_each_kind_of_layer_moves_what_the_rules_say():
    class Block(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    network = nn.Sequential(nn.Conv2d(3, 8, 1), Block(nn.BatchNorm2d(8), nn.ReLU()), nn.MaxPool2d(2),
                            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 5))
    summary, n = summarize_model(network, 4), 8 * 16  # elements of the first map; a quarter of them after the pool
    alike = 2 * (48 + n) + 8 * n + 2 * (n + n // 4) + 2 * (n // 4 + 8) + 3 * (8 + 5)
    eager, fused = (cost_of(summary, 4, torch.float32, kernels) for kernels in (False, True))
    assert eager.bytes == 4 * (alike + (5 + 6) * n + 5 * 8) + 8 * 2 * (n // 4) + 48 * (1 + 4)
    assert fused.bytes == 4 * (alike + 2 * n) + 48 * (1 + 4)
    assert eager.flops == fused.flops == 3 * 2 * (48 * 8 + 8 * 5) - 2 * 48 * 8
    assert fused.weight_bytes == 3 * 4 * sum(p.numel() for p in network.parameters())


def test_what_has_no_rule_is_named():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GELU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    cost = cost_of(summarize_model(network, 4), 4, torch.float32, fused=True)
    assert cost.not_counted == ("GELU",)


@pytest.mark.parametrize("frozen", ["conv1.*,bn1.*,layer1.*,layer2.*", "fc.*", "layer3.*,fc.weight"])
def test_what_is_frozen_costs_no_gradient(frozen):
    config = RunConfig(freeze=frozen, batch_size=2, lr=0.1, device="cpu", precision="fp32", compile="off")
    step = Step(new_network(config, 3), config, resolve(config), make_split(4, 64), 1)
    model = new_network(config, 3)
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 3, 64, 64)).sum().backward()
    found = step_cost(step)
    assert found.flops == pytest.approx(counter.get_total_flops(), rel=0.01)
    still = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    everything = sum(parameter.numel() for parameter in model.parameters())
    network, optimizer = 4 * (3 * everything - still), 4 * 5 * (everything - still)
    assert found.weight_bytes == pytest.approx(network + optimizer, rel=0.001)


def make_optimizer(kind, **settings):
    """An optimizer of 10 + 6 numbers after a step, with its state."""
    weights = [nn.Parameter(torch.ones(2, 5)), nn.Parameter(torch.ones(6))]
    optimizer = kind(weights, lr=0.1, **settings)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("kind, settings, tensors", [
    (torch.optim.SGD, {"fused": True}, 3),  # reads gradient and weight, writes the weight
    (torch.optim.SGD, {"fused": True, "momentum": 0.9}, 5),
    (torch.optim.AdamW, {"fused": True}, 7),
    (torch.optim.SGD, {"foreach": True}, 3),
    (torch.optim.SGD, {"foreach": True, "momentum": 0.9}, 6),  # momentum: gradient, itself twice; weight: three
    (torch.optim.AdamW, {"foreach": True}, 10),
])
def test_an_optimizer_moves_its_own_state(kind, settings, tensors):
    assert optimizer_bytes(make_optimizer(kind, **settings)) == tensors * 16 * 4


def test_a_step_costs_its_network_and_its_optimizer():
    split = make_split(8, 32)
    config = RunConfig(batch_size=4, lr=0.1, image_size=32, device="cpu", precision="fp32", compile="off")
    with torch.device("meta"):
        weights = nn.Linear(3, 3)
    step = Step(nn.Linear(3, 3), config, resolve(config), split, 1)
    found = step_cost(step)
    network = training_cost("resnet18", "origin", split.num_classes, 32, "standard", torch.float32, False)
    assert found.bytes == network.bytes and found.flops == network.flops
    held = sum(p.numel() for p in weights.parameters())
    assert found.weight_bytes == network.weight_bytes + 5 * 4 * held  # SGD with momentum


def test_the_weights_share_of_a_step_does_not_depend_on_how_the_optimizer_goes_about_it():
    config = RunConfig(batch_size=4, lr=0.1, image_size=32, device="cpu", precision="fp32", compile="off")
    step = Step(nn.Linear(3, 3), config, resolve(config), make_split(8, 32), 1)
    cost = step_cost(step)
    fused = weight_share(step, cost)
    assert fused == pytest.approx(cost.weight_bytes / cost.of_step(4)[1])
    step.optimizer = torch.optim.SGD(step.model.parameters(), lr=0.0, momentum=0.9, foreach=False, fused=False)
    for parameter in step.model.parameters():
        step.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    cost = step_cost(step)
    assert weight_share(step, cost) == pytest.approx(fused)
    assert optimizer_bytes(step.optimizer) > optimizer_bytes(step.optimizer, fused=True)
