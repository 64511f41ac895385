"""Optimizers: the groups, torch's own arithmetic, and state that is there before the first step."""

import pytest
import torch

from fasttrain import RunConfig
from fasttrain.registry import OPTIMIZERS
from fasttrain.train.optimizers import build_optimizer, parameter_groups

CPU = torch.device("cpu")


def network():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(),
                                   torch.nn.Linear(12, 4))


def settings(name, **keys):
    return RunConfig(lr=0.1, optimizer={"name": name, **keys}).optimizer


def train(net, optimizer, steps=5):
    for step in range(steps):
        x = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        net(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach() for p in net.parameters()]


@pytest.mark.parametrize("decay_norm_and_bias", [True, False])
def test_what_decays(decay_norm_and_bias):
    net = network()
    chosen = settings("sgd", weight_decay=0.3, decay_norm_and_bias=decay_norm_and_bias)
    weights, others = parameter_groups(net, chosen)
    assert {id(p) for p in weights["params"]} == {id(net[0].weight), id(net[3].weight)}
    assert {id(p) for p in others["params"]} == {id(p) for p in (net[0].bias, *net[1].parameters(), net[3].bias)}
    assert (weights["weight_decay"], others["weight_decay"]) == (0.3, 0.3 if decay_norm_and_bias else 0)


@pytest.mark.parametrize("chosen, oracle", [
    (settings("sgd", momentum=0.8, nesterov=True, weight_decay=0.1, decay_norm_and_bias=True),
     lambda parameters: torch.optim.SGD(parameters, 0.05, 0.8, nesterov=True, weight_decay=0.1)),
    (settings("sgd", momentum=0, nesterov=False, weight_decay=0.0), lambda p: torch.optim.SGD(p, 0.05)),
    (settings("adamw", beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.1, decay_norm_and_bias=True),
     lambda parameters: torch.optim.AdamW(parameters, 0.05, (0.8, 0.9), 1e-3, 0.1)),
], ids=["nesterov", "plain", "adamw"])
def test_weights_are_those_of_torchs_optimizer(chosen, oracle):
    ours, theirs = network(), network()
    optimizer, lr = build_optimizer(ours, chosen, CPU)
    lr.fill_(0.05)
    torch.testing.assert_close(train(ours, optimizer), train(theirs, oracle(list(theirs.parameters()))))


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_the_state_is_there_before_the_first_step_and_stays_in_place(name):
    net = network()
    chosen = settings(name)
    optimizer, lr = build_optimizer(net, chosen, CPU)
    lr.fill_(0.1)

    def tensors():
        return {(index, key): value for index, p in enumerate(net.parameters())
                for key, value in optimizer.state[p].items() if torch.is_tensor(value)}

    before = tensors()
    assert sum(value.ndim > 0 for value in before.values()) == chosen.averages * 6
    assert all((value == 0).all() for value in before.values())
    train(net, optimizer)
    assert {key: id(value) for key, value in tensors().items()} == {key: id(value) for key, value in before.items()}


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_a_saved_state_goes_on_to_the_same_weights(name, tmp_path):
    def start():
        net = network()
        optimizer, lr = build_optimizer(net, settings(name), CPU)
        lr.fill_(0.01)
        return net, optimizer

    whole, optimizer = start()
    train(whole, optimizer)
    torch.save([whole.state_dict(), optimizer.state_dict()], tmp_path / "saved.pt")
    expected = train(whole, optimizer)
    again, optimizer = start()
    weights, state = torch.load(tmp_path / "saved.pt", weights_only=True)
    again.load_state_dict(weights)
    optimizer.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(train(again, optimizer), expected, strict=True))
