"""How the mirrors are compiled: with numba for batches on a CPU, with torch for those on a GPU."""

import functools
from collections.abc import Callable

from fasttrain.storage import use_compile_cache, use_kernel_cache


def numba_kernel(function: Callable) -> Callable:
    """Compiles `function` with numba at its first call (importing numba takes a moment) and keeps it on the disk.

    Kernels are serial and release the GIL: any thread or worker process may call them, with none of numba's threading
    layers. A kernel cannot call another one that is made here.
    """
    @functools.cache
    def compiled():
        import numba

        use_kernel_cache()
        return numba.njit(nogil=True, cache=True)(function)

    return functools.wraps(function)(lambda *arguments: compiled()(*arguments))


def torch_kernel(function: Callable) -> Callable:
    """Compiles `function` into one fused kernel; where this machine cannot, it runs as it is (slower, equal)."""
    import torch

    use_compile_cache()
    chosen = torch.compile(function, dynamic=False)

    def call(*arguments):
        nonlocal chosen
        try:
            return chosen(*arguments)
        except Exception:  # inductor fails in as many ways as there are toolchains
            if chosen is function:
                raise
            chosen = function
            return chosen(*arguments)

    return call
