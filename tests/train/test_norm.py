"""BatchNorm with what follows it, on a CPU: torch's own results, gradients and running statistics."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fasttrain.models import build_model
from fasttrain.train.counters import drop_counters
from fasttrain.train.norm import FusedResNet, fuse_norms, normalize, restore_norms


def channels_last(*shape, dtype):
    return torch.randn(*shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def norm_of_many_kinds(channels, dtype):
    """A BatchNorm2d with weights of both signs and a zero, and running statistics that a step has changed."""
    norm = nn.BatchNorm2d(channels, dtype=dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 1, channels))
        norm.bias.copy_(torch.linspace(0.5, -0.5, channels))
        norm.running_mean.copy_(torch.linspace(-2, 2, channels))
    return norm


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (2, 9, 1, 1), (40, 8, 3, 3)])
def test_training_equals_torch_in_double_precision(shape, beside, relu):
    torch.manual_seed(0)
    norm = norm_of_many_kinds(shape[1], torch.float64)
    x, other, upstream = (channels_last(*shape, dtype=torch.float64) for _ in range(3))
    found = []
    for ours in (False, True):
        own, inputs = copy.deepcopy(norm), [t.clone().requires_grad_() for t in (x, other)]
        if ours:
            y = normalize(inputs[0] * 1, own, inputs[1] if beside else None, relu)
        else:
            y = own(inputs[0])
            y = y + inputs[1] if beside else y
            y = F.relu(y) if relu else y
        wanted = (inputs[0], own.weight, own.bias, *inputs[1:1 + beside])
        found.append([y, own.running_mean, own.running_var, *torch.autograd.grad(y, wanted, upstream)])
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_a_network_trains_and_evaluates_as_torch_does(arch):
    plain = build_model(arch, "origin", 3, seed=0).double().to(memory_format=torch.channels_last)
    drop_counters(plain)
    fused = copy.deepcopy(plain)
    fuse_norms(fused)
    assert list(fused.state_dict()) == list(plain.state_dict())
    x, y = channels_last(4, 3, 64, 64, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    for model in (plain, fused):
        F.cross_entropy(model(x), y).backward()
    for expected, got in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(fused.state_dict(), plain.state_dict(), rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(fused.eval()(x), plain.eval()(x), rtol=1e-8, atol=1e-8)


def test_bfloat16_is_as_near_to_the_exact_result_as_torch_is():
    torch.manual_seed(0)
    model = build_model("resnet18", "origin", 3, seed=0).to(memory_format=torch.channels_last)
    exact, fused = copy.deepcopy(model).double(), copy.deepcopy(model)
    fuse_norms(fused)
    x, y = channels_last(8, 3, 64, 64, dtype=torch.float32), torch.arange(8) % 3
    F.cross_entropy(exact(x.double()), y).backward()
    for network in (model, fused):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        F.cross_entropy(logits.float(), y).backward()

    def distance(network):
        return sum(float((a.grad.double() - b.grad).norm() / b.grad.norm())
                   for a, b in zip(network.parameters(), exact.parameters(), strict=True))

    assert distance(fused) < 1.05 * distance(model)


def test_the_number_of_threads_changes_nothing():
    torch.manual_seed(0)
    norm, x = norm_of_many_kinds(16, torch.float32), channels_last(8, 16, 7, 7, dtype=torch.float32)
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, threads + 1):
            torch.set_num_threads(count)
            own, leaf = copy.deepcopy(norm), x.clone().requires_grad_()
            y = normalize(leaf * 1, own, relu=True)
            results.append([y, *torch.autograd.grad(y.square().sum(), (leaf, own.weight))])
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_stays_so(dtype):
    x = channels_last(2, 4, 4, 4, dtype=dtype)
    x[0, 1, 2, 3] = float("nan")
    x[0, 2, 2, 3] = float("inf")
    y = normalize(x, nn.BatchNorm2d(4), relu=True)
    assert y[:, 1:3].isnan().all()
    assert y[:, [0, 3]].isfinite().all()


def test_other_norms_and_layouts_run_as_they_are():
    x = torch.randn(2, 4, 4, 4)
    for norm in (nn.BatchNorm2d(4), nn.GroupNorm(2, 4)):
        torch.testing.assert_close(normalize(x, norm, x, relu=True), F.relu(copy.deepcopy(norm)(x) + x))


def test_it_is_taken_back():
    model = build_model("resnet50", "origin", 4, seed=0)
    classes = [type(module) for module in model.modules()]
    fuse_norms(model)
    assert isinstance(model, FusedResNet)
    restore_norms(model)
    assert [type(module) for module in model.modules()] == classes
