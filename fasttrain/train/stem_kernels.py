"""BatchNorm, ReLU and 3x3/2 max pooling as one pass each way, in Triton.

Apart, they write and read the stem's map, the largest of the network, four times more, and the pool's gradient costs
some 200 integer operations a pixel. Here a program takes all channels of some pixels, so that its addresses are few.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

PIXELS = 16  # of a program


@triton.jit
def pool_kernel(x, scale, shift, pooled, highest, window, count, height, width, rows, columns,
                CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """For each output pixel: the maximum of relu(scale * x + shift) over its window, the x there, and where it was."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    column, row, image = pixel % columns, pixel // columns % rows, pixel // (columns * rows)
    slope, offset = tl.load(scale + channel)[None, :], tl.load(shift + channel)[None, :]
    best = tl.full((PIXELS, CHANNELS), float("-inf"), tl.float32)
    source = tl.zeros((PIXELS, CHANNELS), tl.float32)
    where = tl.zeros((PIXELS, CHANNELS), tl.int32)
    for place in tl.static_range(9):
        y, z = 2 * row - 1 + place // 3, 2 * column - 1 + place % 3
        inside = (pixel < count) & (y >= 0) & (y < height) & (z >= 0) & (z < width)
        at = ((image * height + y) * width + z) * CHANNELS
        seen = tl.load(x + at[:, None] + channel[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
        value = (slope * seen + offset).to(pooled.dtype.element_ty).to(tl.float32)
        value = tl.where(value < 0, 0.0, value)  # keeps NaN
        higher = inside[:, None] & ((value > best) | (value != value))
        best, source = tl.where(higher, value, best), tl.where(higher, seen, source)
        where = tl.where(higher, place, where)
    to, mask = pixel[:, None] * CHANNELS + channel[None, :], (pixel < count)[:, None]
    tl.store(pooled + to, best.to(pooled.dtype.element_ty), mask=mask)
    tl.store(highest + to, source.to(highest.dtype.element_ty), mask=mask)
    tl.store(window + to, where.to(tl.int8), mask=mask)


@triton.jit
def unpool_kernel(x, gradient, window, slope, pull, push, result, count, rows, columns,
                  CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """For each 2x2 block of x: slope * (what the windows send back) + pull * x + push."""
    block = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)
    column, row, image = block % columns, block // columns % rows, block // (columns * rows)
    there, right, below = block < count, column + 1 < columns, row + 1 < rows
    a, b, c = tl.load(slope + channel)[None, :], tl.load(pull + channel)[None, :], tl.load(push + channel)[None, :]
    at = block[:, None] * CHANNELS + channel[None, :]
    # the four windows that reach into the block: its own, the one to the right, the one below, the one below that
    own, own_place = sent(gradient, window, at, there)
    east, east_place = sent(gradient, window, at + CHANNELS, there & right)
    south, south_place = sent(gradient, window, at + columns * CHANNELS, there & below)
    corner, corner_place = sent(gradient, window, at + (columns + 1) * CHANNELS, there & right & below)
    for place in tl.static_range(4):
        if place == 0:
            total = tl.where(own_place == 4, own, 0.0)
        elif place == 1:
            total = tl.where(own_place == 5, own, 0.0) + tl.where(east_place == 3, east, 0.0)
        elif place == 2:
            total = tl.where(own_place == 7, own, 0.0) + tl.where(south_place == 1, south, 0.0)
        else:
            total = tl.where(own_place == 8, own, 0.0) + tl.where(east_place == 6, east, 0.0) + \
                tl.where(south_place == 2, south, 0.0) + tl.where(corner_place == 0, corner, 0.0)
        pixel = ((image * rows + row) * 2 + place // 2) * 2 * columns + 2 * column + place % 2
        to = pixel[:, None] * CHANNELS + channel[None, :]
        seen = tl.load(x + to, mask=there[:, None], other=0.0).to(tl.float32)
        tl.store(result + to, (a * total + b * seen + c).to(result.dtype.element_ty), mask=there[:, None])


@triton.jit
def sent(gradient, window, at, there):
    """Loads the gradients of pooled pixels and the places in their windows that they belong to; -1 outside."""
    return (tl.load(gradient + at, mask=there[:, None], other=0.0).to(tl.float32),
            tl.load(window + at, mask=there[:, None], other=-1).to(tl.int32))


@triton_op("fasttrain::norm_relu_pool", mutates_args={})
def norm_relu_pool(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns max_pool(relu(scale * x + shift)), 3x3 with stride 2 and padding 1, with what its gradient needs.

    x: [B, C, H, W], channels-last, H and W even, C a power of two. scale, shift: float32 [C]. Beside the maximum,
    [B, C, H/2, W/2] like x, it returns the x of each maximum and its place in the window, int8 from 0 to 8.
    """
    batch, channels, height, width = x.shape
    shape = (batch, height // 2, width // 2, channels)
    pooled, highest = (torch.empty(shape, dtype=x.dtype, device=x.device) for _ in range(2))
    window = torch.empty(shape, dtype=torch.int8, device=x.device)
    count = batch * shape[1] * shape[2]
    wrap_triton(pool_kernel)[(triton.cdiv(count, PIXELS),)](
        x, scale, shift, pooled, highest, window, count, height, width, shape[1], shape[2], CHANNELS=channels,
        PIXELS=PIXELS)
    return pooled.permute(0, 3, 1, 2), highest.permute(0, 3, 1, 2), window.permute(0, 3, 1, 2)


@triton_op("fasttrain::norm_relu_pool_backward", mutates_args={})
def unpool(x: Tensor, gradient: Tensor, window: Tensor, slope: Tensor, pull: Tensor, push: Tensor) -> Tensor:
    """Returns slope * g + pull * x + push, where g is `gradient`, [B, C, H/2, W/2], sent back through the pool.

    All maps are channels-last; window: as `norm_relu_pool` returned it; slope, pull, push: float32 [C].
    """
    batch, channels, rows, columns = gradient.shape
    result = torch.empty((batch, 2 * rows, 2 * columns, channels), dtype=x.dtype, device=x.device)
    count = batch * rows * columns
    wrap_triton(unpool_kernel)[(triton.cdiv(count, PIXELS),)](
        x, gradient, window, slope, pull, push, result, count, rows, columns, CHANNELS=channels, PIXELS=PIXELS)
    return result.permute(0, 3, 1, 2)
