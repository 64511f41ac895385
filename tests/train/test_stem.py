"""The fused stem equals the plain one: outputs, gradients, running statistics."""

import copy
import os

import pytest
import torch
import torch.nn.functional as F

from fasttrain.models import build_model
from fasttrain.train.stem import FusedStemResNet, folded_convolution, fuse_stem, restore_stem


@pytest.mark.parametrize("height, width", [(64, 64), (32, 48), (4, 4)])
def test_a_folded_convolution_is_the_convolution(height, width):
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, 7, 7, dtype=torch.float64, requires_grad=True)
    found, expected = folded_convolution(x, weight), F.conv2d(x, weight, stride=2, padding=3)
    torch.testing.assert_close(found, expected)
    sent_back = torch.randn_like(expected)
    for one, other in zip(torch.autograd.grad(found, (x, weight), sent_back),
                          torch.autograd.grad(expected, (x, weight), sent_back), strict=True):
        torch.testing.assert_close(one, other)


def test_it_is_taken_back():
    model = build_model("resnet18", "origin", 4, seed=0).eval()
    x = torch.randn(2, 3, 32, 32)
    expected = model(x)
    fuse_stem(model)
    assert isinstance(model, FusedStemResNet)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    restore_stem(model)
    assert torch.equal(model(x), expected)


def test_other_networks_and_sizes_stay_as_they_are():
    small = build_model("resnet18", "origin", 4, stem="small")
    fuse_stem(small)
    assert not isinstance(small, FusedStemResNet)
    model = build_model("resnet18", "origin", 4, seed=0).eval()
    x = torch.randn(2, 3, 34, 34)
    expected = model(x)
    fuse_stem(model)
    assert torch.equal(model(x), expected)


def compare(device, dtype, size, tolerance):
    """Holds a fused stem in training against the plain one, whose batch norm has weights of both signs and a zero."""
    plain = build_model("resnet18", "origin", 4, seed=0).to(device, memory_format=torch.channels_last)
    with torch.no_grad():
        plain.bn1.weight.copy_(torch.linspace(-1, 1, 65)[:64])
        plain.bn1.bias.copy_(torch.linspace(0.5, -0.5, 64))
    fused = copy.deepcopy(plain)
    fuse_stem(fused)
    x = torch.randn(6, 3, size, size, device=device).contiguous(memory_format=torch.channels_last).to(dtype)
    found = []
    for model in (plain, fused):
        with torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32):
            y = model.stem(x)
        weights = torch.linspace(-1, 1, y.numel(), device=device).view_as(y)
        (y.float() * weights).sum().backward()
        found.append([y.detach().float(), model.conv1.weight.grad, model.bn1.weight.grad, model.bn1.bias.grad,
                      model.bn1.running_mean, model.bn1.running_var])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=tolerance, atol=tolerance * float(one.abs().max()))


@pytest.mark.computed
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET=1 starts triton's interpreter")
@pytest.mark.parametrize("size", [64, 48, 32])
def test_the_kernels_in_tritons_interpreter(size, monkeypatch):
    kernels = pytest.importorskip("fasttrain.train.stem_kernels", reason="needs triton", exc_type=ImportError)
    monkeypatch.setattr(kernels, "wrap_triton", lambda kernel: kernel)  # it refuses interpreted ones
    compare("cpu", torch.float32, size, 1e-5)


@pytest.mark.gpu
@pytest.mark.real_gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("size", [64, 48, 32])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-3), (torch.bfloat16, 0.05)], ids=str)
def test_the_kernels_on_a_gpu(dtype, tolerance, size, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # its rounding may move a maximum
    compare("cuda", dtype, size, tolerance)
