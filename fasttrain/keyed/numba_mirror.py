"""`keyed.draw` for one sample inside a numba kernel."""

import numba
import numpy as np

from fasttrain.keyed import MASK, MULTIPLIER_1, MULTIPLIER_2

_MASK, _M1, _M2 = np.uint64(MASK), np.uint64(MULTIPLIER_1), np.uint64(MULTIPLIER_2)
_S15, _S16, _S32 = np.uint64(15), np.uint64(16), np.uint64(32)


@numba.njit(inline="always")
def mix(x):
    """lowbias32 of one uint64 that holds 32 bits."""
    x = ((x ^ (x >> _S16)) * _M1) & _MASK
    x = ((x ^ (x >> _S15)) * _M2) & _MASK
    return x ^ (x >> _S16)


@numba.njit(inline="always")
def draw(stream_key, index, bound):
    """One integer in [0, bound) for the sample `index`; all three are integers."""
    return np.int64((mix(np.uint64(index) ^ np.uint64(stream_key)) * np.uint64(bound)) >> _S32)
