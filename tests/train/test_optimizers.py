"""Optimizers: the groups, torch's own arithmetic, and state that is there before the first step."""

import pytest
import torch

from fasttrain import RunConfig
from fasttrain.registry import OPTIMIZERS
from fasttrain.train.optimizers import build_optimizer, parameter_groups
from fasttrain.train.optimizers.orthogonal import orthogonal

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
    (settings("adamw", beta1=0.8, beta2=0.9, eps=1e-2, weight_decay=0.1, decay_norm_and_bias=True),
     lambda parameters: torch.optim.AdamW(parameters, 0.05, (0.8, 0.9), 1e-2, 0.1)),
], ids=["nesterov", "plain", "adamw"])
def test_weights_are_those_of_torchs_optimizer(chosen, oracle):
    ours, theirs = network(), network()
    optimizer, lr = build_optimizer(ours, chosen, CPU)
    lr.fill_(0.05)
    # the bias before BatchNorm has no gradient but rounding, which AdamW makes as large as any other
    torch.testing.assert_close(train(ours, optimizer), train(theirs, oracle(list(theirs.parameters()))),
                               rtol=1e-5, atol=1e-4)


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


def muon_network():
    """Convolutions inside of two shapes, a wide one twice and a tall one; the first one is SGD's."""
    with torch.random.fork_rng():
        torch.manual_seed(6)
        return torch.nn.Sequential(
            torch.nn.Conv2d(2, 4, 1), torch.nn.Conv2d(4, 4, 3, padding=1, bias=False), torch.nn.BatchNorm2d(4),
            torch.nn.Conv2d(4, 4, 3, padding=1, bias=False), torch.nn.Conv2d(4, 12, 1, bias=False),
            torch.nn.Flatten(), torch.nn.Linear(12 * 16, 4))


def exact_newton_schulz(matrix, iterations):
    """By singular values: what the polynomial makes of each of them."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s ** 3 + 2.0315 * s ** 5
    return (u @ torch.diag(s) @ v).float()


@pytest.mark.parametrize("iterations", [1, 3, 5])
@pytest.mark.parametrize("shape", [(4, 7), (5, 5), (9, 3)])
@pytest.mark.parametrize("dtype, error", [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_orthogonal_is_the_polynomial_of_the_singular_values(iterations, shape, dtype, error):
    rows, columns = shape
    kernels = [torch.randn(rows, columns, 2, 1, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    if rows > columns * 2:
        kernels = [kernel[:, :, :1] for kernel in kernels]
    kernels[1] = kernels[1].contiguous(memory_format=torch.channels_last)
    found = orthogonal(kernels, iterations, dtype, scaled=True)
    for kernel, result in zip(kernels, found, strict=True):
        matrix = kernel.flatten(1)
        expected = exact_newton_schulz(matrix, iterations) * max(1, rows / matrix.shape[1]) ** 0.5
        torch.testing.assert_close(result.flatten(1), expected, atol=error, rtol=0)


def test_no_gradient_leaves_a_kernel_where_it_is():
    assert (orthogonal([torch.zeros(3, 5, 1, 1)], 5, torch.float32, scaled=True)[0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_muon_is_torchs_muon_inside_and_torchs_sgd_outside(dtype):
    ours, theirs = muon_network(), muon_network()
    optimizer, lr = build_optimizer(ours, settings("muon", weight_decay=0.2, momentum=0.7, sgd_ratio=0.5, iterations=5,
                                                   sgd_momentum=0.8, renormalize=False), CPU)
    lr.fill_(0.03)
    optimizer.dtype = dtype
    body = [theirs[i].weight for i in (1, 3, 4)]
    matrices = [torch.nn.Parameter(p.detach().flatten(1).clone()) for p in body]
    muon = torch.optim.Muon(matrices, lr=0.03, weight_decay=0.2, momentum=0.7)
    rest = [p for p in theirs.parameters() if not any(p is weight for weight in body)]
    sgd = torch.optim.SGD(rest, lr=0.015, momentum=0.8, nesterov=True)
    for seed in range(3):
        x = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
        ours(x).square().sum().backward()
        for parameter, own in zip(theirs.parameters(), ours.parameters(), strict=True):
            parameter.grad = own.grad.clone()  # the same: rounding of one step must not show in the next
        for matrix, weight in zip(matrices, body, strict=True):
            matrix.grad = weight.grad.flatten(1)
        with torch.no_grad():
            for parameter in rest:
                if parameter.ndim > 1:
                    parameter.mul_(1 - 0.015 * 0.2)
        muon.step(), sgd.step(), optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        for matrix, weight in zip(matrices, body, strict=True):
            weight.copy_(matrix.view_as(weight))
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=3e-3, rtol=1e-4)  # torch's muon computes in bfloat16


def test_a_renormalized_step_starts_from_a_kernel_of_fixed_norm():
    net = muon_network()
    optimizer, lr = build_optimizer(net, settings("muon", renormalize=True), CPU)
    before = [p.detach().clone() for p in net.parameters()]
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()  # at a rate of 0
    inside = {id(net[i].weight) for i in (1, 3, 4)}
    for now, old in zip(net.parameters(), before, strict=True):
        expected = old * len(old) ** 0.5 / old.norm() if id(now) in inside else old
        torch.testing.assert_close(now.detach(), expected)


def test_muon_reads_nothing_back_to_the_host():
    net = muon_network().to("meta")  # a host read of a tensor without storage raises
    optimizer, _ = build_optimizer(net, settings("muon"), torch.device("meta"))
    for parameter in net.parameters():
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
