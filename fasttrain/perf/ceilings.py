"""The most that this machine reaches, measured: a copy, a matrix product, the start of an operator."""

import functools
from collections.abc import Callable

import torch

from fasttrain.perf.timeline import Timeline

REPEATS = 5


def copy_bytes_per_second(device: torch.device | str) -> float:
    """Returns the bytes read plus bytes written a second by a copy far larger than the caches."""
    gpu = torch.device(device).type == "cuda"
    source = torch.ones(2**29 if gpu else 2**26, device=device)  # 2 GiB and 256 MiB
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_seconds(lambda: target.copy_(source), device)


@functools.cache
def matmul_flops(device: torch.device | str, dtype: torch.dtype) -> float:
    """Returns the FLOP/s, two per multiply-add, of a large square product of random numbers; measured once."""
    size = 8192 if torch.device(device).type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / best_seconds(lambda: a @ b, device)


def operator_seconds(count: int = 200) -> float:
    """Returns the seconds that the host takes to start one operator, forward or backward, autograd's part included."""
    def chain():
        x = start
        for _ in range(count):
            x = x * 1.0
        x.backward()

    start = torch.ones((), requires_grad=True)
    return best_seconds(chain, "cpu") / (2 * count)


def best_seconds(function: Callable[[], object], device: torch.device | str) -> float:
    """Returns the shortest time of a few calls, after a first one that does not count."""
    function()
    timeline = Timeline(device)
    for _ in range(REPEATS):
        function()
        timeline.mark("call")
    return min(timeline.milliseconds()["call"]) / 1e3


def measure(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Returns the two ceilings under the names that `profile.json` gives them."""
    return {"copy_bytes_per_second": copy_bytes_per_second(device), "matmul_flops": matmul_flops(device, dtype)}
