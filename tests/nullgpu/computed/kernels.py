"""Generated kernels, run by triton's interpreter: needs TRITON_INTERPRET=1, with which inductor compiles none."""

import functools
import importlib
import types

import numpy as np
import torch
import triton
import triton.language as tl
from torch._inductor.runtime.triton_heuristics import CachingAutotuner
from triton.language.extra import libdevice
from triton.runtime import interpreter

from tests.nullgpu.computed.jobs import submit
from tests.nullgpu.computed.memory import host

LARGEST_BLOCK = 2**17
WRITTEN_BY_HAND = "fasttrain.train.stem_kernels"


def install():
    CachingAutotuner.run = run
    # functions of CUDA's own library, under the names of triton's, which the interpreter knows
    for name in {name for name in dir(libdevice) if not name.startswith("_")} & set(dir(tl.math)):
        setattr(libdevice, name, lambda *args, name=name: getattr(tl.math, name)(*args))
    interpreter._patch_lang = patched_once(interpreter._patch_lang)
    interpreter.ReduceOps.generic_reduce = reduce_by_halves
    # torch takes into its graph what triton would compile; inductor's copy of it is interpreted like the generated ones
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = False
        importlib.import_module(WRITTEN_BY_HAND)


def run(self, *args, stream, **kwargs):
    """Hands the kernel, a generated one in large blocks, to the stream on which it was launched."""
    if given := len(self.inductor_meta.get("extra_launcher_args", ())):  # the grid, of one written by hand
        args, grid, blocks = args[:-given], args[-given:], self.triton_meta["constants"]
    else:
        config = triton.Config(large_blocks(self, args))
        args, grid = self._interpret_args_grid(args, config)
        blocks = config.kwargs
    args = [host(value) if torch.is_tensor(value) else value for value in args]
    submit(stream, lambda: self.fn[grid](*args, **kwargs, **blocks))


def large_blocks(kernel, args):
    """The blocks of the kernel's first configuration, enlarged to its sizes: the interpreter pays by the block."""
    sizes = {name.removesuffix("numel").upper() + "BLOCK": max(value, 1)
             for name, value in zip(kernel.fn.arg_names, args, strict=False) if name.endswith("numel")}
    blocks = dict(kernel.configs[0].kwargs)
    room = LARGEST_BLOCK
    for name in sizes.keys() - blocks.keys():  # what the kernel takes whole
        room //= triton.next_power_of_2(sizes[name])
    for name in sizes.keys() & blocks.keys():
        blocks[name] = max(blocks[name], min(block_for(sizes[name]), room))
        room //= blocks[name]
    return blocks


def block_for(size):
    """The power of two that holds `size`; if a large one divides it, that: the kernel then masks nothing."""
    divisor = size & -size
    return divisor if divisor >= 1024 else triton.next_power_of_2(size)


def patched_once(patch):
    """The interpreter replaces triton's language around each kernel and each call inside it: once is enough."""
    done = set()

    @functools.wraps(patch)
    def patch_unless_done(function):
        names = function.__globals__
        if id(names) not in done:
            patch(function)
            done.add(id(names))
        return types.SimpleNamespace(restore=lambda: None)

    return patch_unless_done


def reduce_by_halves(self, tensors):
    """What the interpreter does element by element: combines whole halves along the axis until one is left."""
    whole = self.axis is None
    arrays = [tensor.handle.data.reshape(-1) if whole else tensor.handle.data for tensor in tensors]
    types_, axis, rank = [tensor.dtype for tensor in tensors], 0 if whole else self.axis, tensors[0].handle.data.ndim
    while arrays[0].shape[axis] > 1:
        halves = [np.split(array, 2, axis) for array in arrays]
        parts = [self.to_tensor(half[side], kind) for side in (0, 1) for half, kind in zip(halves, types_, strict=True)]
        combined = self.combine_fn.fn(*parts)
        arrays = [part.handle.data for part in (combined if isinstance(combined, tuple) else (combined,))]
    arrays = [array.squeeze(axis) for array in arrays]
    if self.keep_dims:
        arrays = [array.reshape((1,) * rank) if whole else np.expand_dims(array, axis) for array in arrays]
    return [self.to_tensor(array, kind) for array, kind in zip(arrays, types_, strict=True)]
