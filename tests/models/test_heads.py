"""The heads against torch's own pools and linear layers; gradients of ties."""

import pytest
import torch
import torch.nn.functional as F

from fasttrain.models.heads import DropoutHead, GlobalMaxPool2d, MaxPoolHead, OriginHead, average_to_2x2

CHANNELS, CLASSES = 6, 5


def network(head):
    """The head's modules as children of a network, as ResNet adopts them; weights of a fixed seed."""
    net = torch.nn.Module()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for name, module in head.build(CHANNELS, CLASSES).items():
            net.add_module(name, module)
    return net.eval()


def features(height, width):
    return torch.randn(4, CHANNELS, height, width, generator=torch.Generator().manual_seed(height))


@pytest.mark.parametrize(("head", "pool"), [(OriginHead, F.adaptive_avg_pool2d), (MaxPoolHead, F.adaptive_max_pool2d)])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pooled_heads(head, pool, size):
    net, x = network(head), features(size, size)
    expected = F.linear(pool(x, 1).flatten(1), net.fc.weight, net.fc.bias)
    assert torch.equal(head.forward(net, x), expected)


def test_names_of_the_modules():
    assert [name for name, _ in network(OriginHead).named_modules()] == ["", "avgpool", "fc"]
    assert [name for name, _ in network(MaxPoolHead).named_modules()] == ["", "maxpool2", "fc"]
    names = [type(module).__name__ for module in network(DropoutHead).classifier]
    assert names == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]


def test_dropout_head_without_dropout_is_three_linear_layers():
    net, x = network(DropoutHead), features(2, 2)
    first, second, third = (net.classifier[i] for i in (1, 4, 6))
    hidden = F.relu(F.linear(x.reshape(4, -1), first.weight, first.bias))
    hidden = F.relu(F.linear(hidden, second.weight, second.bias))
    assert torch.equal(DropoutHead.forward(net, x), F.linear(hidden, third.weight, third.bias))


def test_dropout_drops_half_in_training():
    net = network(DropoutHead).train()
    assert [module.p for module in net.classifier if isinstance(module, torch.nn.Dropout)] == [0.5, 0.5]
    x = features(2, 2)
    assert not torch.equal(DropoutHead.forward(net, x), DropoutHead.forward(net, x))


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 14])
@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_average_to_2x2_is_the_adaptive_pool(height, width):
    x = features(height, width).requires_grad_()
    upstream = torch.randn(4, CHANNELS, 2, 2)
    ours, theirs = average_to_2x2(x), F.adaptive_avg_pool2d(x, 2)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(y, x, upstream)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_a_2x2_map_is_not_touched():
    x = features(2, 2)
    assert average_to_2x2(x) is x


def gradient_of_maximum(values):
    x = torch.tensor(values, dtype=torch.float64).reshape(1, 1, 2, 2).requires_grad_()
    GlobalMaxPool2d()(x).sum().backward()
    return x.grad.flatten().tolist()


def test_maximum_shares_its_gradient_among_ties():
    assert gradient_of_maximum([1, 4, 2, 3]) == [0, 1, 0, 0]
    assert gradient_of_maximum([4, 4, 2, 3]) == [0.5, 0.5, 0, 0]
    assert gradient_of_maximum([0, 0, 0, 0]) == [0.25] * 4


def test_a_channel_that_relu_zeroed_gets_no_gradient():
    x = torch.tensor([[-1.0, -2.0, 0.0, -3.0], [-1.0, 5.0, 5.0, 2.0]]).reshape(1, 2, 2, 2).requires_grad_()
    GlobalMaxPool2d()(F.relu(x)).sum().backward()
    assert x.grad.reshape(2, 4).tolist() == [[0, 0, 0, 0], [0, 0.5, 0.5, 0]]


@pytest.mark.parametrize("head", [OriginHead, MaxPoolHead, DropoutHead])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_gradients_are_the_numerical_ones(head, size):
    net = network(head).double()
    x = features(size, size).double()[:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: head.forward(net, x), (x,))
