"""What test_step.py forbids is done here on purpose: the null GPU has to tell."""

import pytest
import torch
import torch.nn.functional as F

from tests.nullgpu import nullgpu

triton = pytest.importorskip("triton")
tl = triton.language


@triton.jit
def many_sums(to, COUNT: tl.constexpr):
    offsets = tl.arange(0, COUNT)
    sums = tl.zeros((COUNT,), tl.float32)
    for turn in range(4):
        sums = sums * sums + tl.load(to + turn * COUNT + offsets)
    tl.store(to + offsets, sums)


@pytest.fixture(autouse=True)
def fresh_log():
    torch.cuda.synchronize()
    nullgpu.reset()


def captured(function):
    """The nodes of a graph that holds `function()`."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    nullgpu.reset()
    graph.replay()
    [number] = nullgpu.graphs(nullgpu.log())
    return nullgpu.graph(number)


def test_reading_a_value_is_a_wait():
    loss = torch.zeros((), device="cuda")
    nullgpu.reset()
    loss.add_(1)
    assert nullgpu.waits(nullgpu.log()) == []
    loss.item()
    assert nullgpu.waits(nullgpu.log())


def test_a_copy_from_pageable_memory_is_a_wait():
    batch = torch.zeros(8, device="cuda")
    pinned, pageable = torch.zeros(8).pin_memory(), torch.zeros(8)
    nullgpu.reset()
    batch.copy_(pinned, non_blocking=True)
    assert nullgpu.waits(nullgpu.log()) == []
    batch.copy_(pageable, non_blocking=True)
    assert nullgpu.waits(nullgpu.log())


def test_reading_a_value_in_a_capture_is_forbidden():
    loss = torch.zeros((), device="cuda")
    with pytest.raises(RuntimeError):
        captured(loss.item)
    assert nullgpu.forbidden(nullgpu.log())


@pytest.mark.parametrize("precision, layout, told", [
    (torch.bfloat16, torch.channels_last, False), (torch.bfloat16, torch.contiguous_format, True),
    (torch.float32, torch.channels_last, True)], ids=["as it should be", "NCHW", "fp32"])
def test_a_convolution_tells_its_layout_and_its_precision(precision, layout, told):
    x = torch.zeros(4, 8, 6, 6, device="cuda", dtype=precision).to(memory_format=layout)
    weight = torch.zeros(8, 8, 3, 3, device="cuda", dtype=precision).to(memory_format=layout)
    F.conv2d(x, weight)
    assert nullgpu.counts(nullgpu.log())["convolution"] == 1
    assert bool(nullgpu.not_channels_last_bf16(nullgpu.log())) == told


def test_a_new_shape_is_compiled_anew():
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: x * 2 + 1, dynamic=False)
    batches = [torch.zeros(size, device="cuda") for size in (64, 40)]
    compiled(batches[0])
    nullgpu.reset()
    compiled(batches[0])
    assert nullgpu.compiled(nullgpu.log()) == []
    compiled(batches[1])
    assert nullgpu.compiled(nullgpu.log())


def test_a_copy_is_a_node():
    one, other = torch.zeros(2, 8, device="cuda")
    assert [node.kind for node in captured(lambda: one.copy_(other))] == ["copy"]


@pytest.mark.parametrize("count, told", [(256, False), (16384, True)])
def test_a_kernel_with_more_sums_than_registers_spills(count, told):
    """One warp has 32 threads, a thread 255 registers."""
    many_sums[(2,)](torch.zeros(4 * count, device="cuda"), COUNT=count, num_warps=1)
    assert bool(nullgpu.spilled(nullgpu.log())) == told
