"""The only place that asks which device, precision and compile mode a run gets, and says why."""

import contextlib
import ctypes
from dataclasses import dataclass

import torch

from fasttrain.errors import ConfigError

# torch.compile's modes that use CUDA graphs, and the same kernels without: a graph of ours then holds the whole step
GRAPH_MODES = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}


@dataclass(frozen=True)
class Runtime:
    """Where and how a step runs. `notes` are lines for the user: what every `auto` chose, and why."""

    device: torch.device
    precision: str
    compile: str
    channels_last: bool
    notes: tuple[str, ...] = ()

    @property
    def dtype(self):
        """The dtype of activations."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    @property
    def memory_format(self):
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def inductor_mode(self):
        """The mode that the kernels are compiled in."""
        return GRAPH_MODES.get(self.compile, self.compile)

    @property
    def cuda_graphs(self):
        """Whether each step is one CUDA graph."""
        return self.device.type == "cuda" and self.compile in GRAPH_MODES

    def autocast(self):
        """The context a forward pass runs in."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def synchronize(self):
        """Waits until the device has done all that it was told: for clocks, never inside the step loop."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def resolve(config):
    """Turns the `auto`s of a RunConfig into a Runtime; ConfigError for what this machine cannot do."""
    device, why_device = choose_device(config.device)
    precision, why_precision = choose_precision(config.precision, device)
    mode, why_compile = choose_compile(config.compile, device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()
    return Runtime(device, precision, mode, config.channels_last, (why_device, why_precision, why_compile))


def keep_freed_memory():
    """Asks glibc to keep what is freed, since every step allocates the same sizes again.

    Its default returns large blocks to the system at once, and each page that comes back costs a fault and a clearing:
    5 to 10 % of a training step on a CPU. Other C libraries are left as they are.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of mallopt's parameters, malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, -1)


@contextlib.contextmanager
def memory_errors(batch_size):
    """Turns running out of memory inside the block into a ConfigError that names the batch size."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise ConfigError(f"batch size {batch_size}: does not fit into memory; use a smaller --batch-size") from None


def out_of_memory(error):
    """Whether an exception says that memory ran out, on a GPU or on the host."""
    said = str(error)  # by allocators, compilers, cuBLAS, cuDNN and CUDA graphs, each with a type of its own
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in said for words in ("can't allocate memory", "out of memory", "_ALLOC_FAILED"))


def choose_device(wanted):
    """(torch.device, one line that says why)."""
    usable = torch.cuda.is_available()
    if wanted == "cuda" and not usable:
        raise ConfigError(f"device cuda: torch {torch.__version__} sees no usable GPU here; use --device cpu or auto")
    if usable and wanted != "cpu":
        return torch.device("cuda", torch.cuda.current_device()), f"device cuda: {torch.cuda.get_device_name()}"
    threads = torch.get_num_threads()
    return torch.device("cpu"), f"device cpu: {'asked for' if wanted == 'cpu' else 'no usable GPU'}, " \
                                f"{threads} thread{'s' if threads > 1 else ''}"


def native_bf16(device):
    """Whether bf16 arithmetic is done by the hardware and not emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def choose_precision(wanted, device):
    """(precision, one line that says why): the fastest that is native."""
    if wanted == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16: needs a GPU; use --precision fp32 or auto")
    if wanted != "auto":
        return wanted, f"precision {wanted}: asked for"
    if native_bf16(device):
        return "bf16", "precision bf16: native here"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
        return "fp16", "precision fp16: native here, bf16 is not"
    return "fp32", "precision fp32: bf16 is not native here (emulated it is many times slower)"


def choose_compile(wanted, device):
    """(torch.compile mode or "off", one line that says why)."""
    if wanted != "auto":
        return wanted, f"compile {wanted}: asked for"
    if device.type == "cuda":
        return "reduce-overhead", "compile reduce-overhead: fused kernels, each step one CUDA graph"
    return "off", "compile off: on a CPU it gains about 1 % and costs tens of seconds"
