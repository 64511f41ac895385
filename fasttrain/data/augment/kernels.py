"""How the mirrors are compiled: with numba for batches on a CPU, with torch for those on a GPU."""

import functools
import sys
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
    """Compiles `function` into fused kernels; where this machine cannot, says so once and runs it as it is."""
    import torch

    from fasttrain.runtime import out_of_memory, with_own_code

    use_compile_cache()
    # rows and pixels are within bounds; a check of each would keep the GPU from reading several at once
    chosen = torch.compile(with_own_code(function), dynamic=False, options={"assert_indirect_indexing": False})

    def call(*arguments):
        nonlocal chosen
        try:
            return chosen(*arguments)
        except Exception as error:  # inductor fails in as many ways as there are toolchains
            if chosen is function or out_of_memory(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            print(f"warning: {function.__name__} is not compiled, augmentation is slower: {reason}", file=sys.stderr)
            chosen = function
            return chosen(*arguments)

    return call
