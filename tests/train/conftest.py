"""Stand-ins: a compiler that only traces, and CUDA graphs that call the function that they hold."""

import contextlib
import functools

import pytest
import torch
from torch._dynamo.utils import counters


@pytest.fixture
def traced(monkeypatch):
    """torch.compile with the backend "eager"."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    yield
    torch._dynamo.reset()


@pytest.fixture
def graphs(monkeypatch):
    """CUDA graphs that replay the function that they hold; the list of them."""
    made = []

    class Graph:
        def __init__(self):
            self.replays = 0
            made.append(self)

        def replay(self):
            self.replays += 1
            self.holder.function(*self.holder.inputs)

    class Stream:
        def wait_stream(self, other):
            pass

    for name, fake in {"CUDAGraph": Graph, "Stream": Stream, "current_stream": Stream, "graph_pool_handle": object,
                       "stream": contextlib.nullcontext, "graph": lambda graph, **_: contextlib.nullcontext()}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return made
