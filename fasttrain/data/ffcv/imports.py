"""`import ffcv`, without what that would do to the process; raises what it raises.

It sets the threads of torch and numba to one. And it spends seconds on compiling for a dictionary of two entries, which
works without: nothing that is used here needs numba's compiler during the import.
"""

import numba
import torch

threads, numba_threads, jit = torch.get_num_threads(), numba.get_num_threads(), numba.config.DISABLE_JIT
numba.config.DISABLE_JIT = True
try:
    import ffcv  # noqa: F401
finally:
    numba.config.DISABLE_JIT = jit
    numba.set_num_threads(numba_threads)
    torch.set_num_threads(threads)
