"""Convolutions on a CPU as matrix products, where those are faster than its convolution kernels.

On the small maps deep in a ResNet, oneDNN's gradient of the weights runs at a tenth to a half of the speed of a matrix
product, and where only a few pixels come out, its other two kernels are slow as well: they bring the large weight into
a layout of their own first. And a 3x3 window on a 2x2 map reads five zeros for every four pixels: each output then
depends on each input through one weight, so the convolution *is* a dense layer and takes 16/36 of the work, on a 1x1
map 1/9. Results equal torch's own up to the rounding of their precision. Meant for channels-last tensors: there a map
is a matrix [B * H * W, C] already.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Sizes of the output, in pixels, as measured with AVX2, AVX-512 and AMX, in fp32 and bf16. On larger maps the columns
# that a matrix product needs no longer fit the caches, and oneDNN wins.
SMALL_MAP = 16  # up to here the gradient of the weight is a matrix product
TINY_MAP = 4  # up to here all three are


def use_matrix_products(model):
    """Lets the convolutions of `model` run this way; its parameters, their names and its results stay the same."""
    for module in model.modules():
        if type(module) is nn.Conv2d and is_plain(module):
            module.__class__ = MatrixConv2d


def is_plain(conv):
    """Whether a Conv2d is one of the two kinds that a ResNet is made of."""
    plain = conv.bias is None and conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    kinds = (((1, 1), (0, 0)), ((3, 3), (1, 1)))
    return plain and conv.stride[0] == conv.stride[1] and (conv.kernel_size, conv.padding) in kinds


class MatrixConv2d(nn.Conv2d):
    """A 1x1 or 3x3 convolution, padded to keep the size, that chooses how to run by the size of its output."""

    def forward(self, x):
        stride, (height, width) = self.stride[0], x.shape[2:]
        if -(-height // stride) * -(-width // stride) > SMALL_MAP:
            return super().forward(x)
        weight = self.weight.to(x.dtype)  # what autocast does for torch's own operators
        if self.kernel_size == (1, 1):
            seen = x[:, :, ::stride, ::stride]
            return unflat(F.linear(flat(seen), weight.flatten(1)), seen.shape)
        shape = (len(x), len(weight), -(-height // stride), -(-width // stride))
        if max(height, width) <= 2:
            dense = kernel_to_matrix(weight, height, width, stride)
            return unflat(F.linear(flat(x).view(len(x), -1), dense), shape)
        if shape[2] * shape[3] <= TINY_MAP:
            return unflat(F.linear(columns(x, stride), flat(weight).view(len(weight), -1)), shape)
        return convolution(x, weight, stride)


def flat(x):
    """Returns [B, C, H, W] as the matrix [B * H * W, C]: no copy where it is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def unflat(matrix, shape):
    """The rows of a matrix as a channels-last map [B, C, H, W] with the B, H, W of `shape`."""
    batch, _, height, width = shape
    return matrix.view(batch, height, width, -1).permute(0, 3, 1, 2)


# What follows are operators of their own, with derivatives: torch.compile takes minutes over the indices inside them.
@torch.library.custom_op("fasttrain::convolution", mutates_args=())
def convolution(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """conv2d of 3x3 windows with padding 1; the gradient of its weight is one matrix product."""
    return F.conv2d(x, weight, None, stride, 1)


@convolution.register_fake
def _(x, weight, stride):
    return F.conv2d(x, weight, None, stride, 1)


def convolution_backward(ctx, grad):
    x, weight = ctx.saved_tensors
    grad, grad_x, grad_weight = grad.contiguous(memory_format=torch.channels_last), None, None
    if ctx.needs_input_grad[0]:
        grad_x = torch.nn.grad.conv2d_input(x.shape, weight, grad, ctx.stride, 1)
    if ctx.needs_input_grad[1]:
        grad_weight = (flat(grad).t() @ columns(x, ctx.stride)).view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)
    return grad_x, grad_weight, None


def keep_for_backward(ctx, inputs, output):
    x, weight, ctx.stride = inputs
    ctx.save_for_backward(x, weight)


convolution.register_autograd(convolution_backward, setup_context=keep_for_backward)


@torch.library.custom_op("fasttrain::columns", mutates_args=())
def columns(x: Tensor, stride: int) -> Tensor:
    """Returns the 3x3 pixels that each output sees: [B * H' * W', 9 * C] of a channels-last [B, C, H, W]."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(1, 3, stride).unfold(2, 3, stride)  # [B, H', W', C, 3, 3]
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[1])


@columns.register_fake
def _(x, stride):
    batch, channels, height, width = x.shape
    return x.new_empty(batch * -(-height // stride) * -(-width // stride), 9 * channels)


@torch.library.custom_op("fasttrain::add_columns", mutates_args=())
def add_columns(columns: Tensor, shape: list[int], stride: int) -> Tensor:
    """Returns the transpose of `columns`: for each pixel of [B, C, H, W] the sum over the windows that saw it."""
    batch, channels, height, width = shape
    windows = columns.view(batch, -(-height // stride), -(-width // stride), 3, 3, channels)
    exact = torch.promote_types(columns.dtype, torch.float32)  # up to nine numbers are added
    padded = columns.new_zeros(batch, height + 2, width + 2, channels, dtype=exact)
    for y in range(3):
        for x in range(3):
            seen = padded[:, y:y + height:stride, x:x + width:stride]
            seen += windows[:, :, :, y, x]
    return padded[:, 1:-1, 1:-1].to(columns.dtype).contiguous().permute(0, 3, 1, 2)


@add_columns.register_fake
def _(columns, shape, stride):
    batch, channels, height, width = shape
    return columns.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)


def keep_shape(ctx, inputs, output):
    x, ctx.stride = inputs
    ctx.shape = list(x.shape)


columns.register_autograd(lambda ctx, grad: (add_columns(grad.contiguous(), ctx.shape, ctx.stride), None),
                          setup_context=keep_shape)


def kernel_parts(height, width, stride):
    """Returns, for each output of a map up to 2x2, the rows and columns of a 3x3 kernel that meet the map."""
    along = [[slice(1 - at, 1 - at + pixels) for at in range(0, pixels, stride)] for pixels in (height, width)]
    return [(rows, columns) for rows in along[0] for columns in along[1]]


@torch.library.custom_op("fasttrain::kernel_to_matrix", mutates_args=())
def kernel_to_matrix(weight: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Returns the dense layer [H' * W' * O, H * W * I] that a kernel [O, I, 3, 3] is on maps up to 2x2."""
    blocks = [weight[:, :, rows, columns].permute(0, 2, 3, 1) for rows, columns in kernel_parts(height, width, stride)]
    return torch.stack(blocks).view(len(blocks) * len(weight), -1)


@kernel_to_matrix.register_fake
def _(weight, height, width, stride):
    outputs = len(kernel_parts(height, width, stride))
    return weight.new_empty(outputs * weight.shape[0], height * width * weight.shape[1])


@torch.library.custom_op("fasttrain::matrix_to_kernel", mutates_args=())
def matrix_to_kernel(matrix: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Returns the transpose of `kernel_to_matrix`: a gradient of its matrix as one of the kernel, channels-last."""
    seen = kernel_parts(height, width, stride)
    blocks = matrix.view(len(seen), matrix.shape[0] // len(seen), height, width, -1)
    kernel = matrix.new_zeros(blocks.shape[1], 3, 3, blocks.shape[-1])
    for (rows, columns), block in zip(seen, blocks, strict=True):
        kernel[:, rows, columns] += block
    return kernel.permute(0, 3, 1, 2)


@matrix_to_kernel.register_fake
def _(matrix, height, width, stride):
    outputs, inputs = matrix.shape[0] // len(kernel_parts(height, width, stride)), matrix.shape[1] // (height * width)
    return matrix.new_empty(outputs, 3, 3, inputs).permute(0, 3, 1, 2)


def keep_map(ctx, inputs, output):
    _, *ctx.map = inputs


kernel_to_matrix.register_autograd(
    lambda ctx, grad: (matrix_to_kernel(grad.contiguous(), *ctx.map), None, None, None), setup_context=keep_map)
