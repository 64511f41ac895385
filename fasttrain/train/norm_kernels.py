"""The passes over memory that BatchNorm, ReLU and what lies beside them take on a CPU, compiled by numba.

Maps are matrices [rows, C], a row for each pixel of each image: float32, float64, or bfloat16 as the uint16 of its
bits; one without rows stands for none. Rows are summed in BLOCKS parts, added in order, so that results do not depend
on the number of threads. numba's OpenMP layer and torch share one pool of threads: both load libgomp.so.1.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

from fasttrain.storage import use_kernel_cache

BLOCKS = 32
FAST = {"contract"}  # a * b + c in one instruction, with one rounding

use_kernel_cache()
parallel = numba.njit(parallel=True, nogil=True, cache=True, fastmath=FAST, error_model="numpy")


def bitcast(source, target, target_ir):
    @intrinsic
    def cast(typing, value):
        return target(source), lambda context, builder, signature, values: builder.bitcast(values[0], target_ir)
    return cast


bits_to_float = bitcast(types.uint32, types.float32, ir.FloatType())
float_to_bits = bitcast(types.float32, types.uint32, ir.IntType(32))


def number(stored):
    """Returns an element of a map as a float."""


def put(to, row, channel, value):
    """Stores a float as an element of a map, bfloat16 rounded to nearest, ties to even."""


@overload(number)
def _(stored):
    if isinstance(stored, types.Integer):
        return lambda stored: bits_to_float(np.uint32(stored) << np.uint32(16))
    return lambda stored: stored


@overload(put)
def _(to, row, channel, value):
    if isinstance(to.dtype, types.Integer):
        def rounded(to, row, channel, value):
            bits = float_to_bits(value)
            up = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            to[row, channel] = np.uint16(up) if value == value else np.uint16(0x7FC0)
        return rounded

    def plain(to, row, channel, value):
        to[row, channel] = value
    return plain


@register_jitable
def span(block, rows):
    """Returns where a block's rows begin and end."""
    return block * rows // BLOCKS, (block + 1) * rows // BLOCKS


@register_jitable(inline="always")  # as a call it is four times as slow in the process that compiles it
def passed(gradient, out, masks, row, channel):
    """Returns an element of the gradient; with `masks` 0 where ReLU gave out 0."""
    sent = number(gradient[row, channel])
    if masks:
        sent = sent if number(out[row, channel]) > 0 else np.float32(0)
    return sent


@parallel
def moments(x, center):
    """Returns the sums over rows of x - center and of its square: [2, C] like center."""
    rows, channels = x.shape
    parts = np.zeros((BLOCKS, 2, channels), center.dtype)
    for block in numba.prange(BLOCKS):
        start, stop = span(block, rows)
        for row in range(start, stop):
            for c in range(channels):
                distance = number(x[row, c]) - center[c]
                parts[block, 0, c] += distance
                parts[block, 1, c] += distance * distance
    return parts.sum(0)


@parallel
def scale_add_relu(x, slope, offset, beside, relu, out):
    """Puts slope * x + offset + beside, not below zero if `relu`, into out."""
    (rows, channels), adds = x.shape, len(beside) > 0
    for block in numba.prange(BLOCKS):
        start, stop = span(block, rows)
        for row in range(start, stop):
            for c in range(channels):
                value = slope[c] * number(x[row, c]) + offset[c]
                if adds:
                    value += number(beside[row, c])
                if relu:
                    value = np.float32(0) if value < 0 else value  # keeps NaN
                put(out, row, c, value)


@parallel
def gradient_sums(gradient, out, x, center):
    """Returns the sums over rows of gradient and of gradient * (x - center), where out > 0 if there is one: [2, C]."""
    (rows, channels), masks = x.shape, len(out) > 0
    parts = np.zeros((BLOCKS, 2, channels), center.dtype)
    for block in numba.prange(BLOCKS):
        start, stop = span(block, rows)
        for row in range(start, stop):
            for c in range(channels):
                sent = passed(gradient, out, masks, row, c)
                parts[block, 0, c] += sent
                parts[block, 1, c] += sent * (number(x[row, c]) - center[c])
    return parts.sum(0)


@parallel
def spread_gradient(gradient, out, x, slope, pull, push, of_x, of_beside):
    """Puts slope * gradient + pull * x + push into of_x, and the gradient alone into of_beside if there is one.

    The gradient counts where out > 0, everywhere without one.
    """
    (rows, channels), masks, adds = x.shape, len(out) > 0, len(of_beside) > 0
    for block in numba.prange(BLOCKS):
        start, stop = span(block, rows)
        for row in range(start, stop):
            for c in range(channels):
                sent = passed(gradient, out, masks, row, c)
                put(of_x, row, c, slope[c] * sent + pull[c] * number(x[row, c]) + push[c])
                if adds:
                    put(of_beside, row, c, sent)


@parallel
def pool(x, slope, offset, height, width, pooled, highest, window):
    """Max pooling, 3x3 with stride 2 and padding 1, of relu(slope * x + offset) on maps of an even height and width.

    Puts the maxima into pooled, the x of each into highest, and its place in the window, 0 to 8, into window (int8).
    """
    rows, channels = pooled.shape
    down, across = height // 2, width // 2
    for block in numba.prange(BLOCKS):
        start, stop = span(block, rows)
        best, source = np.empty(channels, slope.dtype), np.empty(channels, slope.dtype)
        where = np.empty(channels, np.int8)
        for row in range(start, stop):
            image, top, left = row // (down * across), row // across % down * 2 - 1, row % across * 2 - 1
            best[:] = -1
            for place in range(9):
                y, z = top + place // 3, left + place % 3
                if 0 <= y < height and 0 <= z < width:
                    seen_row = (image * height + y) * width + z
                    for c in range(channels):
                        seen = number(x[seen_row, c])
                        value = slope[c] * seen + offset[c]
                        value = np.float32(0) if value < 0 else value
                        higher = (value > best[c]) | (value != value)
                        best[c] = value if higher else best[c]
                        source[c] = seen if higher else source[c]
                        where[c] = np.int8(place) if higher else where[c]
            for c in range(channels):
                put(pooled, row, c, best[c])
                put(highest, row, c, source[c])
                window[row, c] = where[c]


@parallel
def unpool(gradient, pooled, window, x, slope, pull, push, height, width, of_x):
    """Puts slope * g + pull * x + push into of_x, where g is the gradient sent back through `pool`."""
    rows, channels = gradient.shape
    down, across = height // 2, width // 2
    for block in numba.prange(BLOCKS):
        start, stop = span(block, x.shape[0])
        total = np.empty(channels, slope.dtype)
        for row in range(start, stop):
            image, y, z = row // (height * width), row // width % height, row % width
            total[:] = 0
            for a in range(y // 2, min((y + 1) // 2, down - 1) + 1):  # the windows that see the pixel
                for b in range(z // 2, min((z + 1) // 2, across - 1) + 1):
                    place = np.int8((y - 2 * a + 1) * 3 + z - 2 * b + 1)
                    at = (image * down + a) * across + b
                    for c in range(channels):
                        taken = (window[at, c] == place) & (number(pooled[at, c]) > 0)
                        total[c] += number(gradient[at, c]) if taken else np.float32(0)
            for c in range(channels):
                put(of_x, row, c, slope[c] * total[c] + pull[c] * number(x[row, c]) + push[c])
