"""Two ways to run a function of one batch faster: compiled into fused kernels, and captured as one CUDA graph."""

import os
import re
import types
from pathlib import Path

import torch

# Steps before a capture: libraries choose their algorithms and set up their buffers in the first ones.
REHEARSALS = 3


def with_sound_cache(function, *arguments):
    """Calls `function`; kernels in the compile cache that cannot be loaded are deleted, to be made anew.

    A compiler that is killed, or finds the disk full, leaves half a file, and inductor takes it for a whole one.
    """
    deleted = set()
    while True:
        try:
            return function(*arguments)
        except Exception as error:
            kernel = re.search(r"(/\S+\.so): ", str(error))
            if kernel is None or kernel[1] in deleted or not in_compile_cache(kernel[1]):
                raise
            deleted.add(kernel[1])
            Path(kernel[1]).unlink()


def in_compile_cache(path):
    """Whether `path` is a file in the folder where inductor keeps what it compiled."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return folder is not None and Path(path).is_file() and Path(folder) in Path(path).parents


class Compiled:
    """The method `function` as one graph without breaks, for the shape of images that it sees first.

    It runs other shapes as it is, so a shorter last batch compiles nothing new.
    """

    def __init__(self, function, mode):
        self.function, self.shape = function, None
        self.compiled = torch.compile(with_own_code(function), mode=mode, fullgraph=True, dynamic=False)

    def __call__(self, images, *rest):
        if self.shape is None:
            self.shape = images.shape
        return (self.compiled if images.shape == self.shape else self.function)(images, *rest)


def with_own_code(method):
    """A copy of a bound method with its own code object, per which torch limits the number of compilations."""
    inner = method.__func__
    copy = types.FunctionType(inner.__code__.replace(), inner.__globals__, inner.__name__, inner.__defaults__,
                              inner.__closure__)
    return types.MethodType(copy, method.__self__)


class Captured:
    """`function(*inputs)` as one CUDA graph: a call copies its inputs into fixed buffers and launches once.

    `function` returns nothing: it works on tensors that stay where they are. The default generator's seed and offset
    are read at each replay, so a seed set before a call counts. Inputs of other shapes run `function` as it is.
    """

    def __init__(self, function, inputs, pool):
        self.function = function
        self.inputs = [tensor.clone() for tensor in inputs]
        # autograd runs backward on the stream of the forward pass and remembers it: rehearse where it is captured
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(REHEARSALS):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        # "thread_local": what a loader's threads do meanwhile is no concern of the capture
        with torch.cuda.graph(self.graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            function(*self.inputs)

    def __call__(self, *inputs):
        if any(given.shape != fixed.shape for given, fixed in zip(inputs, self.inputs, strict=True)):
            return self.function(*inputs)
        self.take(*inputs)
        self.graph.replay()

    def take(self, *inputs):
        """Copies inputs into the fixed buffers, and returns these."""
        for given, fixed in zip(inputs, self.inputs, strict=True):
            fixed.copy_(given, non_blocking=True)
        return self.inputs
