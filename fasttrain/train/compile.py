"""Faster forms of a Step's functions: compiled into fused kernels, and captured as one CUDA graph a step."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from fasttrain.data.batch import Batch
from fasttrain.runtime import Runtime, out_of_memory, with_own_code
from fasttrain.storage import use_compile_cache
from fasttrain.train.norm import load_kernels, restore_norms
from fasttrain.train.slices import SlicedStep
from fasttrain.train.stem import fuse_stem, restore_stem
from fasttrain.train.step import Step

# Steps before a capture: libraries choose their algorithms and set up their buffers in the first ones.
REHEARSALS = 3
# What inductor is told beside its mode on a GPU. combo_kernels: what does not depend on each other, such as the casts
# of all weights, shares a launch; resnet18's step has 207 nodes instead of 264.
GPU_KERNELS = {"combo_kernels": True}


def warm_up(step: Step, train_batches: list[Batch], eval_batch: Batch | None, warn: Callable[[str], None]) -> None:
    """Compiles and captures, as the runtime says, on real shapes without training: the step's state stays as it is.

    Every image size of the run gets its own form, for batches of the shape of the first of `train_batches`. Others,
    such as a short last one, run once as they are, so that libraries choose their algorithms. Where a form fails, the
    step falls back to the next simpler one and `warn` gets one line that says so. Without batches of a kind, that kind
    is not prepared. The time goes to `step.compile_seconds`.
    """
    started = time.monotonic()
    if step.runtime.compile == "off":
        load_kernels(step.model, step.runtime.dtype)
        step.compile_seconds = time.monotonic() - started
        return
    # advice to torch's own developers, a dozen lines of it
    warnings.filterwarnings("ignore", "\\s*Online softmax is disabled", UserWarning)
    use_compile_cache()
    state = optimizer_state(step)
    with untouched(step):
        compiled = attempt(step, functools.partial(compile_forward, step, train_batches, eval_batch),
                           functools.partial(run_eagerly, step), warn, "eager")
        if compiled and step.runtime.cuda_graphs:
            attempt(step, functools.partial(capture, step, train_batches, eval_batch, state), step.launch_singly, warn,
                    "without a CUDA graph")
    step.runtime.synchronize()
    step.compile_seconds = time.monotonic() - started


def attempt(step: Step, prepare: Callable[[], None], undo: Callable[[], None], warn: Callable[[str], None],
            otherwise: str) -> bool:
    """Returns whether `prepare` worked, in every process; if not, calls `undo` in all.

    A simpler form is no remedy for lack of memory.
    """
    reason = None
    try:
        with_sound_cache(prepare)
    except Exception as error:  # compilers and drivers fail in as many ways as there are toolchains
        if out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    reason = next(filter(None, step.processes.all(reason)), None)
    if reason:
        undo()
        warn(f"compile {step.runtime.compile} failed, training goes on {otherwise}: {reason}")
    return reason is None


def compile_forward(step: Step, train_batches: list[Batch], eval_batch: Batch | None) -> None:
    """Puts compiled forward passes, with their backward passes, in their places and runs each once."""
    for model in (step.model, step.evaluated):
        restore_norms(model)  # the compiler fuses them itself
        if step.runtime.device.type == "cuda" and step.runtime.channels_last:
            fuse_stem(model)
    step.forward_eval = Compiled(step.eval_sums, step.runtime)
    step.forward_train = {size: Compiled(step.train_loss, step.runtime) for size in step.sizes}
    for _ in at_each_size(step):
        for batch in train_batches:
            step.rehearse(batch)
    if eval_batch is not None:
        step.evaluate(eval_batch)


def run_eagerly(step: Step) -> None:
    """Takes back what `compile_forward` did."""
    restore_stem(step.model)
    restore_stem(step.evaluated)
    step.run_eagerly()


def capture(step: Step, train_batches: list[Batch], eval_batch: Batch | None, state: set) -> None:
    """Puts CUDA graphs of whole steps in their places. state: what the optimizer kept before its first step."""
    if optimizer_state(step) != state:
        raise RuntimeError(f"{type(step.optimizer).__name__} makes its state in its first step, after a capture")
    pool = torch.cuda.graph_pool_handle()
    for size in at_each_size(step) if train_batches else ():
        step.prepare(0.0, 0)
        step.launch_train[size] = Captured(step.update, step.inputs(train_batches[0]), pool)
    if train_batches and isinstance(step, SlicedStep):
        step.launch_finish = Captured(step.finish, (), pool)
    if eval_batch is not None:
        step.evaluate(eval_batch)
        with torch.no_grad():
            step.launch_eval = Captured(step.count, eval_batch[:3], pool)


def at_each_size(step: Step) -> Iterator[int]:
    """Yields the image sizes of the run, the step set to each meanwhile and back in the end."""
    before = step.size
    for size in step.sizes:
        step.size = size
        yield size
    step.size = before


def optimizer_state(step: Step) -> set:
    """What the optimizer keeps: a (parameter, key) pair for each value."""
    return {(id(parameter), key) for parameter, state in step.optimizer.state.items() for key in state}


@contextlib.contextmanager
def untouched(step: Step) -> Iterator[None]:
    """Takes back what steps do inside the block: to weights, statistics, optimizer, sums and random generators.

    State that the optimizer makes in its first step is removed again.
    """
    before = [(tensor, tensor.detach().clone()) for tensor in step.changing()]
    states = {parameter: dict(state) for parameter, state in step.optimizer.state.items()}
    steps, scaler, devices = step.steps, step.scaler.state_dict(), \
        [step.runtime.device] if step.runtime.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        step.optimizer.zero_grad(set_to_none=True)
        step.optimizer.state.clear()
        step.optimizer.state.update(states)
        step.scaler.load_state_dict(scaler)
        step.steps = steps
        with torch.no_grad():
            for tensor, kept in before:
                tensor.copy_(kept)


def with_sound_cache(function: Callable, *arguments):
    """Calls `function` and returns its result; deletes kernels in the compile cache that cannot be loaded, and retries.

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


def in_compile_cache(path: str) -> bool:
    """Returns whether `path` is a file in the folder where inductor keeps what it compiled."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return folder is not None and Path(path).is_file() and Path(folder) in Path(path).parents


def inductor_options(runtime: Runtime) -> dict:
    """Returns the options of the runtime's mode, and on a GPU those of GPU_KERNELS that this torch knows."""
    from torch import _inductor  # after `use_compile_cache`: it takes its folder when it is imported

    options = _inductor.list_mode_options(runtime.inductor_mode)
    if runtime.device.type == "cuda":
        options |= {name: value for name, value in GPU_KERNELS.items() if name in _inductor.list_options()}
    return options


class Compiled:
    """Runs the method `function` as one graph without breaks, for the shape of images that it sees first.

    Other shapes run as they are, so a shorter last batch compiles nothing new.
    """

    def __init__(self, function: Callable, runtime: Runtime):
        self.function, self.shape = function, None
        self.compiled = torch.compile(with_own_code(function), options=inductor_options(runtime), fullgraph=True,
                                      dynamic=False)

    def __call__(self, images, *rest):
        if self.shape is None:
            self.shape = images.shape
        return (self.compiled if images.shape == self.shape else self.function)(images, *rest)


class Captured:
    """Runs `function(*inputs)` as one CUDA graph: a call copies its inputs into fixed buffers and launches once.

    `function` returns nothing and works on tensors that stay where they are. A replay reads the default generator's
    seed and offset, so a seed set before a call counts. Inputs of other shapes run `function` as it is.
    """

    def __init__(self, function: Callable[..., None], inputs: tuple[torch.Tensor, ...], pool: tuple[int, int]):
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

    def singly(self, *inputs: torch.Tensor) -> None:
        """Does the same without the graph: copies the inputs, then launches the kernels one by one."""
        self.take(*inputs)
        self.function(*self.inputs)

    def take(self, *inputs: torch.Tensor) -> None:
        """Copies inputs into the fixed buffers."""
        for given, fixed in zip(inputs, self.inputs, strict=True):
            fixed.copy_(given, non_blocking=True)
