"""Decides which device, threads, precision and compile mode a run gets, and says why; no other file asks."""

import contextlib
import ctypes
import dataclasses
import functools
import os
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from fasttrain.config import RunConfig
from fasttrain.cores import cores
from fasttrain.errors import ConfigError

# modes of torch.compile that use CUDA graphs, and the modes with the same kernels without: our own graph holds the step
GRAPH_MODES = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}


@dataclass(frozen=True)
class Runtime:
    """Where and how a step runs.

    threads: of operators on the host; None: as torch has them. notes: tell the user, line by line, what every `auto`
    chose, and why.
    """

    device: torch.device
    precision: str
    compile: str
    channels_last: bool
    threads: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of activations."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def inductor_mode(self) -> str:
        """The mode in which torch compiles the kernels."""
        return GRAPH_MODES.get(self.compile, self.compile)

    @property
    def cuda_graphs(self) -> bool:
        """Whether each step is one CUDA graph."""
        return self.device.type == "cuda" and self.compile in GRAPH_MODES

    @property
    def loader_threads(self) -> int | None:
        """The threads of a loader that has its own: as many as the step's if that is no default; None: all cores."""
        return None if self.threads == default_threads() else self.threads

    def with_threads(self, count: int, why: str) -> "Runtime":
        """Returns the same with another number of threads, and sets torch to it."""
        use_threads(count)
        notes = tuple(why if note.startswith("threads ") else note for note in self.notes)
        return dataclasses.replace(self, threads=count, notes=notes)

    def uncompiled(self, why: str) -> "Runtime":
        """Returns the same without compiling."""
        notes = tuple(why if note.startswith("compile ") else note for note in self.notes)
        return dataclasses.replace(self, compile="off", notes=notes)

    def autocast(self) -> contextlib.AbstractContextManager:
        """Returns the context in which a forward pass runs."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def generators(self) -> list[torch.Generator]:
        """Returns the generators that a step's random numbers come from: torch's default ones."""
        if self.device.type == "cpu":
            return [torch.default_generator]
        torch.cuda.init()
        return [torch.default_generator, torch.cuda.default_generators[self.device.index or 0]]

    def synchronize(self) -> None:
        """Waits until the device has finished its work: for clocks, never inside the step loop."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def with_own_code(function: Callable) -> Callable:
    """Returns a copy of a function or bound method with a code object of its own: torch.compile limits the compilations
    of each code object, over all that use it in a process."""
    if isinstance(function, types.MethodType):
        return types.MethodType(with_own_code(function.__func__), function.__self__)
    return types.FunctionType(function.__code__.replace(), function.__globals__, function.__name__,
                              function.__defaults__, function.__closure__)


def resolve(config: RunConfig) -> Runtime:
    """Chooses what a RunConfig leaves at `auto`, and sets torch to it; ConfigError for what this machine cannot do.

    Threads at `auto` become as many as by default: which number is fastest takes steps to tell, see `train.threads`.
    """
    device, why_device = choose_device(config.device)
    threads, why_threads = choose_threads(config.threads)
    precision, why_precision = choose_precision(config.precision, device)
    mode, why_compile = choose_compile(config.compile, device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()
    use_threads(threads)
    return Runtime(device, precision, mode, config.channels_last, threads,
                   (why_device, why_threads, why_precision, why_compile))


def use_threads(count: int) -> None:
    """Lets torch's operators on a CPU run with that many threads; sums are equal to the bit at an equal number."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory, since every step allocates the same sizes again.

    By default it returns large blocks to the system, which clears each page again at its next use: 5 to 10 % of a
    training step on a CPU. Does nothing with other C libraries.
    """
    trim_threshold, mmap_threshold = -1, -3  # parameters of mallopt, from malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, -1)


@contextlib.contextmanager
def memory_errors(batch_size: int) -> Iterator[None]:
    """Raises a ConfigError that names the batch size where memory runs out inside the block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise ConfigError(f"batch size {batch_size}: does not fit into memory; use a smaller --batch-size") from None


def out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception means that memory ran out, on a GPU or on the host."""
    said = str(error)  # allocators, compilers, cuBLAS, cuDNN and CUDA graphs each raise a type of their own
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in said for words in ("can't allocate memory", "out of memory", "_ALLOC_FAILED"))


def choose_device(wanted: str) -> tuple[torch.device, str]:
    """Returns the device and one line that says why."""
    usable = torch.cuda.is_available()
    if wanted == "cuda" and not usable:
        raise ConfigError(f"device cuda: torch {torch.__version__} sees no usable GPU here; use --device cpu or auto")
    if usable and wanted != "cpu":
        return torch.device("cuda", torch.cuda.current_device()), f"device cuda: {torch.cuda.get_device_name()}"
    return torch.device("cpu"), f"device cpu: {'asked for' if wanted == 'cpu' else 'no usable GPU'}"


def choose_threads(wanted: int | str | None) -> tuple[int, str]:
    """Returns the number of threads on the host, and one line that says why."""
    if wanted in (None, "auto"):
        count = default_threads()
        return count, f"threads {count}: " + ("OMP_NUM_THREADS" if "OMP_NUM_THREADS" in os.environ else
                                              "one for each core that this process may use")
    return wanted, f"threads {wanted}: asked for"


@functools.cache
def default_threads() -> int:
    """Returns as many threads as torch began with (OMP_NUM_THREADS, else the cores), within the cores' quota."""
    began_with = torch.get_num_threads()
    return began_with if "OMP_NUM_THREADS" in os.environ else min(began_with, cores())


def native_bf16(device: torch.device) -> bool:
    """Returns whether the hardware computes in bf16, instead of emulating it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def choose_precision(wanted: str, device: torch.device) -> tuple[str, str]:
    """Returns the precision, for `auto` the fastest native one, and one line that says why."""
    if wanted == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16: needs a GPU; use --precision fp32 or auto")
    if wanted != "auto":
        return wanted, f"precision {wanted}: asked for"
    if native_bf16(device):
        return "bf16", "precision bf16: native here"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
        return "fp16", "precision fp16: native here, bf16 is not"
    return "fp32", "precision fp32: bf16 is not native here (emulated it is many times slower)"


def choose_compile(wanted: str, device: torch.device) -> tuple[str, str]:
    """Returns the mode of torch.compile, or "off", and one line that says why."""
    if wanted != "auto":
        return wanted, f"compile {wanted}: asked for"
    if device.type == "cuda":
        return "reduce-overhead", "compile reduce-overhead: fused kernels, each step one CUDA graph"
    return "off", "compile off: on a CPU it gains about 1 % and costs tens of seconds"
