"""A ResNet's stem for a GPU: the same function of the same parameters, in fewer trips to memory.

The 7x7 convolution with stride 2 sees three channels, for which tensor cores have no use: cuDNN pads them to eight and
stays at a tenth of its speed. Every 2x2 pixels folded into the channels (space-to-depth, as in MLPerf's ResNets,
arXiv:1909.09756) make it a 4x4 convolution of sixteen channels with stride 1. In training, BatchNorm, ReLU and the
pool follow in one pass, see `stem_kernels`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fasttrain.models.resnet import ResNet
from fasttrain.train.norm import gradient_terms

FOLD = 2  # pixels a side
CHANNELS = 16  # of the folded image: twelve, and zeros up to what tensor cores take


def fuse_stem(model: nn.Module) -> None:
    """Lets a ResNet with the standard stem and torch's BatchNorm run this way; leaves other networks as they are."""
    if type(model) is ResNet and model.maxpool is not None and type(model.bn1) is nn.BatchNorm2d:
        model.__class__ = FusedStemResNet


def restore_stem(model: nn.Module) -> None:
    """Takes `fuse_stem` back."""
    if type(model) is FusedStemResNet:
        model.__class__ = ResNet


class FusedStemResNet(ResNet):
    """A ResNet whose stem is one folded convolution and, in training, one pass after it."""

    def stem(self, x: Tensor) -> Tensor:
        if x.shape[2] % (2 * FOLD) or x.shape[3] % (2 * FOLD):  # no whole blocks, before or after the convolution
            return super().stem(x)
        x = folded_convolution(x, self.conv1.weight)
        if self.training and self.bn1.training:
            return NormReluPool.apply(x, self.bn1.weight, self.bn1.bias, *batch_statistics(x, self.bn1))
        return self.maxpool(self.relu(self.bn1(x)))


def folded_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """Returns the convolution of x, [B, 3, H, W], with weight, [K, 3, 7, 7], stride 2, padding 3: [B, K, H/2, W/2].

    An eighth row and column of zeros before the weights make every tap a part of some 2x2 block.
    """
    blocks = fold(F.pad(x, (4, 2, 4, 2)))
    kernel = fold(F.pad(weight.to(x.dtype), (1, 0, 1, 0)))
    return F.conv2d(blocks, kernel)


def fold(x: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 16, H/2, W/2], channels-last: each 2x2 block's pixels as channels, then four of zeros."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // FOLD, FOLD, width // FOLD, FOLD).permute(0, 3, 5, 1, 2, 4)
    x = x.reshape(batch, FOLD * FOLD * channels, height // FOLD, width // FOLD)
    return F.pad(x, (0, 0, 0, 0, 0, CHANNELS - x.shape[1])).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def batch_statistics(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Returns mean and 1 / standard deviation of each channel, float32 [C]; updates the running statistics.

    One pass: sums of the distances from the running mean and of their squares, which lose nothing to cancellation.
    """
    distance = x.float() - norm.running_mean.view(-1, 1, 1)
    count = x.numel() // x.shape[1]
    shift = distance.sum((0, 2, 3)) / count
    variance = (distance * distance).sum((0, 2, 3)) / count - shift * shift
    mean = norm.running_mean + shift
    norm.running_mean += norm.momentum * shift
    norm.running_var += norm.momentum * (variance * (count / (count - 1)) - norm.running_var)
    return mean, torch.rsqrt(variance + norm.eps)


class NormReluPool(torch.autograd.Function):
    """max_pool(relu(batch_norm(x))) with the statistics of the batch, which are functions of x too."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Returns [B, C, H/2, W/2]. mean, scale: as `batch_statistics` returns them."""
        from fasttrain.train.stem_kernels import norm_relu_pool

        slope = weight * scale
        pooled, highest, window = norm_relu_pool(x, slope, bias - mean * slope)
        ctx.save_for_backward(x, pooled, highest, window, slope, mean, scale)
        return pooled

    @staticmethod
    def backward(ctx, gradient: Tensor):
        """Sums over the pooled map, where alone the gradient is not zero, instead of the map before it."""
        from fasttrain.train.stem_kernels import unpool

        x, pooled, highest, window, slope, mean, scale = ctx.saved_tensors
        gradient = torch.where(pooled > 0, gradient, 0).contiguous(memory_format=torch.channels_last)
        normalized = (highest.float() - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
        bias_gradient = gradient.float().sum((0, 2, 3))
        weight_gradient = (gradient.float() * normalized).sum((0, 2, 3))
        sums, count = (bias_gradient, weight_gradient), x.numel() // x.shape[1]
        pull, push = gradient_terms(slope, scale, mean, sums, count)
        return unpool(x, gradient, window, slope, pull, push), weight_gradient, bias_gradient, None, None
