"""`keyed.draw` in torch: 32-bit lanes held in int64, because torch has no unsigned 64-bit shift."""

from fasttrain.keyed import MASK, MULTIPLIER_1, MULTIPLIER_2


def mix(x):
    """lowbias32 of an int64 tensor of values in [0, 2^32); products wrap, their low 32 bits are exact."""
    x = ((x ^ (x >> 16)) * MULTIPLIER_1) & MASK
    x = ((x ^ (x >> 15)) * MULTIPLIER_2) & MASK
    return x ^ (x >> 16)


def draw(stream_key, index, bound):
    """One integer in [0, bound) for each element of the int64 tensor `index`; `bound` < 2^31."""
    return (mix(index ^ stream_key) * bound) >> 32
