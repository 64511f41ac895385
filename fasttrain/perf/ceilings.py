"""What this machine can do at best, measured: a copy, a matrix product, the start of an operator."""

import functools

import torch

from fasttrain.perf.timeline import Marks

REPEATS = 5


def copy_bytes_per_second(device):
    """Bytes read plus bytes written by a copy far larger than the caches."""
    gpu = torch.device(device).type == "cuda"
    source = torch.ones(2**29 if gpu else 2**26, device=device)  # 2 GiB and 256 MiB
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_seconds(lambda: target.copy_(source), device)


@functools.cache
def matmul_flops(device, dtype):
    """FLOP/s of a large square matrix product of random numbers, two per multiply-add; measured once in a process."""
    size = 8192 if torch.device(device).type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / best_seconds(lambda: a @ b, device)


def operator_seconds(count=200):
    """Host seconds that torch takes to start one operator, with what autograd adds, forward or backward."""
    def chain():
        x = start
        for _ in range(count):
            x = x * 1.0
        x.backward()

    start = torch.ones((), requires_grad=True)
    return best_seconds(chain, "cpu") / (2 * count)


def best_seconds(function, device):
    """The shortest of a few runs after a first one that does not count."""
    function()
    marks = Marks(device)
    marks.mark()
    for _ in range(REPEATS):
        function()
        marks.mark()
    return float(marks.milliseconds().min()) / 1e3


def measure(device, dtype):
    """The two ceilings under the names that `profile.json` gives them."""
    return {"copy_bytes_per_second": copy_bytes_per_second(device), "matmul_flops": matmul_flops(device, dtype)}
