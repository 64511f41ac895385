"""Convolutions as matrix products: torch's own results, to the rounding of double precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fasttrain.models import build_model
from fasttrain.train.convolution import MatrixConv2d, use_matrix_products


def gradients(module, x):
    """Output, and the gradients of input and weight, for an incoming gradient that is the same for all."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = module(x)
    upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return (out, *torch.autograd.grad(out, (x, module.weight), upstream))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("kernel, stride", [(1, 1), (1, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("height, width", [(1, 1), (2, 2), (1, 2), (2, 3), (3, 3), (4, 4), (7, 8), (8, 8)])
def test_equals_conv2d_in_value_and_gradients(kernel, stride, height, width, layout):
    torch.manual_seed(0)
    ours = nn.Conv2d(5, 6, kernel, stride, padding=kernel // 2, bias=False).double().to(memory_format=layout)
    plain = nn.Conv2d(5, 6, kernel, stride, padding=kernel // 2, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    use_matrix_products(ours)
    assert type(ours) is MatrixConv2d
    x = torch.randn(3, 5, height, width, dtype=torch.float64).contiguous(memory_format=layout)
    for got, expected in zip(gradients(ours, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_a_network_keeps_its_parameters_and_its_loss(arch):
    plain, ours = (build_model(arch, "origin", 3, seed=0).double().to(memory_format=torch.channels_last) for _ in "ab")
    use_matrix_products(ours)
    assert any(type(module) is MatrixConv2d for module in ours.modules())
    assert list(ours.state_dict()) == list(plain.state_dict())
    x, y = torch.randn(4, 3, 64, 64, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    losses = [F.cross_entropy(model(x), y) for model in (plain, ours)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
    for expected, got in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kernel, stride, size", [(1, 1, 2), (1, 2, 4), (3, 1, 1), (3, 2, 2), (3, 1, 2), (3, 1, 4),
                                                  (3, 2, 4), (3, 2, 8), (3, 1, 8)])
def test_autocast_gives_bf16_activations_and_fp32_gradients_of_the_weights(kernel, stride, size):
    torch.manual_seed(0)
    ours = nn.Conv2d(8, 6, kernel, stride, padding=kernel // 2, bias=False).to(memory_format=torch.channels_last)
    use_matrix_products(ours)
    x = torch.randn(16, 8, size, size).bfloat16().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out, of_input, of_weight = gradients(ours, x)
    assert (out.dtype, of_input.dtype, of_weight.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    exact = nn.Conv2d(8, 6, kernel, stride, padding=kernel // 2, bias=False).double()
    exact.load_state_dict(ours.state_dict())
    for got, expected in zip((out, of_input, of_weight), gradients(exact, x.double()), strict=True):
        distance = (got.double() - expected).norm() / expected.norm()
        assert distance < 2 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("options", [{"bias": True}, {"groups": 2}, {"dilation": 2}, {"padding": 0},
                                     {"kernel_size": 7, "padding": 3}, {"padding_mode": "reflect"}, {"stride": (1, 2)}])
def test_other_convolutions_are_left_alone(options):
    module = nn.Conv2d(4, 4, **{"kernel_size": 3, "padding": 1, "bias": False, **options})
    use_matrix_products(module)
    assert type(module) is nn.Conv2d


def test_derivatives_and_shapes_as_torch_compile_sees_them():
    from fasttrain.train import convolution

    x = torch.randn(2, 4, 4, 4, requires_grad=True).to(memory_format=torch.channels_last)
    weight = torch.randn(6, 4, 3, 3, requires_grad=True).to(memory_format=torch.channels_last)
    matrix = torch.randn(24, 16)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(convolution.convolution, (x, weight, 2), test_utils=checks)
    torch.library.opcheck(convolution.kernel_to_matrix, (weight, 2, 2, 1), test_utils=checks)
    torch.library.opcheck(convolution.columns, (x, 2), test_utils=checks)
    torch.library.opcheck(convolution.add_columns, (torch.randn(8, 36), [2, 4, 4, 4], 2), test_utils=checks)
    torch.library.opcheck(convolution.matrix_to_kernel, (matrix, 2, 2, 1), test_utils=checks)
