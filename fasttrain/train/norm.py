"""BatchNorm on a CPU together with what follows it in a ResNet: the shortcut's addition, ReLU, the stem's pool.

torch runs each of them as an operator of its own, and each reads and writes the whole map: most of a step where matrix
units take a convolution in a millisecond. Here a layer takes two passes forward (statistics, result) and two backward.
Results equal torch's own up to the rounding of their precision, with fewer roundings between.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fasttrain.models.resnet import BasicBlock, Bottleneck, ResNet
from fasttrain.train.convolution import flat

SAMPLE = 256  # pixels whose mean is near enough to that of all
FLOATS = (torch.float32, torch.float64, torch.bfloat16)


def fuse_norms(model: nn.Module) -> None:
    """Lets the blocks of a ResNet run this way; parameters, their names and results stay the same."""
    for module in model.modules():
        module.__class__ = FUSED.get(type(module), type(module))


def restore_norms(model: nn.Module) -> None:
    """Takes `fuse_norms` back."""
    plain = {fused: plain for plain, fused in FUSED.items()}
    for module in model.modules():
        module.__class__ = plain.get(type(module), type(module))


class FusedBasicBlock(BasicBlock):
    """A BasicBlock whose norms take in what follows them."""

    def forward(self, x: Tensor) -> Tensor:
        out = norm_relu(self.conv1(x), self.bn1)
        return norm_relu(self.conv2(out), self.bn2, shortcut(self.downsample, x))


class FusedBottleneck(Bottleneck):
    """A Bottleneck whose norms take in what follows them."""

    def forward(self, x: Tensor) -> Tensor:
        out = norm_relu(self.conv1(x), self.bn1)
        out = norm_relu(self.conv2(out), self.bn2)
        return norm_relu(self.conv3(out), self.bn3, shortcut(self.downsample, x))


class FusedResNet(ResNet):
    """A ResNet whose stem pools while it normalises."""

    def stem(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.maxpool is None:
            return norm_relu(x, self.bn1)
        if not self.training or not fits(x, self.bn1) or x.shape[2] % 2 or x.shape[3] % 2:
            return self.maxpool(norm_relu(x, self.bn1))
        mean, scale = batch_statistics(x, self.bn1)
        return NormReluPool.apply(x, self.bn1.weight, self.bn1.bias, mean, scale)


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    BasicBlock: FusedBasicBlock, Bottleneck: FusedBottleneck, ResNet: FusedResNet}


def shortcut(downsample: nn.Sequential | None, x: Tensor) -> Tensor:
    """Returns what goes past a block."""
    if downsample is None:
        return x
    conv, norm = downsample
    return normalize(conv(x), norm)


def norm_relu(x: Tensor, norm: nn.Module, beside: Tensor | None = None) -> Tensor:
    """Returns relu(norm(x) + beside), [B, C, H, W]."""
    return normalize(x, norm, beside, relu=True)


def normalize(x: Tensor, norm: nn.Module, beside: Tensor | None = None, relu: bool = False) -> Tensor:
    """Returns norm(x), plus `beside` where there is one, not below zero where `relu` is set."""
    if not fits(x, norm) or (not norm.training and torch.is_grad_enabled()):
        x = norm(x) if beside is None else norm(x) + beside
        return x.relu_() if relu else x
    if norm.training:
        return Norm.apply(x, norm.weight, norm.bias, beside, *batch_statistics(x, norm), relu)
    scale = torch.rsqrt(norm.running_var + norm.eps)
    return scaled(x, norm.weight, norm.bias, beside, norm.running_mean, scale, relu)


def fits(x: Tensor, norm: nn.Module) -> bool:
    """Returns whether the kernels take the map and the norm: torch's own norm, no layout or type that is rare."""
    return (type(norm) is nn.BatchNorm2d and x.dtype in FLOATS and len(x) > 0
            and x.is_contiguous(memory_format=torch.channels_last))


@torch.no_grad()
def batch_statistics(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Returns mean and 1 / standard deviation of each channel, [C]; updates the running statistics.

    One pass: sums of the distances from the mean of a few pixels and of their squares, which lose little to
    cancellation.
    """
    count = x.numel() // x.shape[1]
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
    center = flat(x)[:SAMPLE].to(norm.running_mean.dtype).mean(0)
    shift, square = torch.from_numpy(kernels().moments(matrix(x), center.numpy())) / count
    variance = square - shift * shift
    mean = center + shift
    norm.running_mean += norm.momentum * (mean - norm.running_mean)
    norm.running_var += norm.momentum * (variance * (count / (count - 1)) - norm.running_var)
    return mean, torch.rsqrt(variance + norm.eps)


def scaled(x, weight, bias, beside, mean, scale, relu) -> Tensor:
    """Returns (x - mean) * scale * weight + bias, plus `beside`, not below zero where `relu` is set."""
    out = torch.empty_like(x)
    kernels().scale_add_relu(matrix(x), *line(weight, bias, mean, scale), matrix(beside, x), relu, matrix(out))
    return out


def line(weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Returns slope and offset, [C]: (x - mean) * scale * weight + bias is slope * x + offset."""
    slope = weight * scale
    return slope.numpy(), (bias - mean * slope).numpy()


def kernels():
    """Returns the module of the compiled passes, set to as many threads as torch has."""
    import numba

    from fasttrain.train import norm_kernels

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    return norm_kernels


def load_kernels(model: nn.Module, dtype: torch.dtype) -> None:
    """Loads the passes that a model takes over maps of a type; compiles them, in seconds, once on a machine."""
    if isinstance(model, FusedResNet):
        norm, x = nn.BatchNorm2d(2), torch.ones(1, 2, 2, 2, dtype=dtype, requires_grad=True)
        x = x.contiguous(memory_format=torch.channels_last)
        x = normalize(x, norm, x, relu=True)
        NormReluPool.apply(x, norm.weight, norm.bias, norm.running_mean, norm.running_var).sum().backward()


def matrix(x: Tensor | None, like: Tensor | None = None) -> np.ndarray:
    """Returns [B, C, H, W] as a matrix [B * H * W, C], bfloat16 as its bits; for None one like `like` without rows."""
    if x is None:
        x = like[:0]
    x = flat(x.contiguous(memory_format=torch.channels_last))
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def gradient_terms(slope: Tensor, scale: Tensor, mean: Tensor, sums: Sequence[Tensor],
                   count: int) -> tuple[Tensor, Tensor]:
    """Returns pull and push: the gradient of x is slope * g + pull * x + push.

    That is slope * (g - mean of g - x^ * mean of g * x^), with x^ = (x - mean) * scale; sums: of g and of g * x^.
    """
    of_bias, of_weight = sums
    pull = -slope * scale * of_weight / count
    return pull, -slope * of_bias / count - pull * mean


def gradients(maps: Sequence[np.ndarray], weight: Tensor, mean: Tensor, scale: Tensor,
              count: int) -> tuple[Tensor, Tensor, list[np.ndarray]]:
    """Returns the gradients of weight and bias, and [slope, pull, push], of which that of x is made: all [C].

    maps: the gradient, where it counts, and the x it belongs to, as `gradient_sums` takes them. count: pixels of x.
    """
    sums = torch.from_numpy(kernels().gradient_sums(*maps, mean.numpy()))
    sums[1] *= scale
    slope = weight * scale
    terms = slope, *gradient_terms(slope, scale, mean, sums, count)
    return sums[1], sums[0], [term.numpy() for term in terms]


class Norm(torch.autograd.Function):
    """`scaled` with the statistics of the batch, which are functions of x too."""

    @staticmethod
    def forward(ctx, x, weight, bias, beside, mean, scale, relu):
        out = scaled(x, weight, bias, beside, mean, scale, relu)
        ctx.save_for_backward(x, out if relu else None, weight, mean, scale)
        ctx.relu, ctx.beside = relu, beside is not None
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, out, weight, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        maps = matrix(gradient), matrix(out, x), matrix(x)
        of_weight, of_bias, terms = gradients(maps, weight, mean, scale, len(maps[0]))
        of_x = torch.empty_like(x)
        of_beside = torch.empty_like(x) if ctx.beside and ctx.relu else None
        kernels().spread_gradient(*maps, *terms, matrix(of_x), matrix(of_beside, x))
        if ctx.beside and not ctx.relu:
            of_beside = gradient
        return of_x, of_weight, of_bias, of_beside, None, None, None


class NormReluPool(torch.autograd.Function):
    """max_pool(relu(batch_norm(x))), [B, C, H, W] -> [B, C, H / 2, W / 2]."""

    @staticmethod
    def forward(ctx, x, weight, bias, mean, scale):
        batch, channels, height, width = x.shape
        pooled, highest = (torch.empty(batch, channels, height // 2, width // 2, dtype=x.dtype,
                                       memory_format=torch.channels_last) for _ in range(2))
        window = torch.empty_like(pooled, dtype=torch.int8)
        kernels().pool(matrix(x), *line(weight, bias, mean, scale), height, width, matrix(pooled), matrix(highest),
                       matrix(window))
        ctx.save_for_backward(x, pooled, highest, window, weight, mean, scale)
        return pooled

    @staticmethod
    def backward(ctx, gradient: Tensor):
        """Sums over the pooled map, where alone the gradient is not zero, instead of the map before it."""
        x, pooled, highest, window, weight, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        maps = matrix(gradient), matrix(pooled)
        of_weight, of_bias, terms = gradients((*maps, matrix(highest)), weight, mean, scale, x.numel() // x.shape[1])
        of_x = torch.empty_like(x)
        kernels().unpool(*maps, matrix(window), matrix(x), *terms, *x.shape[2:], matrix(of_x))
        return of_x, of_weight, of_bias, None, None
