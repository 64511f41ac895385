"""Data on a real GPU: the resident loader's kernels, and the copies that run beside the step."""

import contextlib

import numpy as np
import pytest
import torch

from fasttrain.config import Augment
from fasttrain.data.augment import switched_on
from fasttrain.data.augment.fused import FUSED, Draws, fused_draws, fused_keys
from fasttrain.data.augment.fused_torch import gather_batch
from fasttrain.data.augment.rest import Rest
from fasttrain.data.batch import Batch, LoaderSpec
from fasttrain.data.loaders import build
from fasttrain.data.prefetch import to_device
from fasttrain.keyed import torch_mirror
from tests.helpers import make_split

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]
SPLIT = make_split(300, 64, 10)
AUGMENTS = [Augment(crop_padding=4, flip="alternating"), Augment(crop_padding=4, flip="random", cutout=16),
            Augment(rrc_scale=0.25, flip="random", cutout=8),
            Augment(crop_padding=4, flip="random", brightness=0.4, contrast=0.4, cutout=8)]
BUSY_CYCLES = 20_000_000  # about 10 ms of an idle GPU's time


@contextlib.contextmanager
def no_waiting():
    """Inside, whatever makes the host wait for the GPU raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def make(device, augment, name="resident", batch_size=64, train=True):
    return build(name, LoaderSpec(SPLIT, batch_size, train, seed=3, augment=augment, device=torch.device(device)))


@pytest.mark.computed
@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
def test_resident_on_the_gpu_equals_the_cpu_bit_for_bit(augment):
    loaders = [make(device, augment) for device in ("cpu", "cuda")]
    for epoch in (0, 1, 7):
        for loader in loaders:
            loader.set_epoch(epoch)
        for expected, found in zip(*loaders, strict=True):
            for one, other in zip(expected[:3], found[:3], strict=True):
                assert torch.equal(one, other.cpu())


@pytest.mark.computed
@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
def test_its_kernels_compile(augment):
    """`kernels.torch_kernel` would hide a failure behind eager operators, ten times as slow."""
    torch._dynamo.reset()
    pixels, indices = torch.from_numpy(np.ascontiguousarray(SPLIT.pixels)).cuda(), torch.arange(64, device="cuda")
    if set(switched_on(augment, 64)) <= set(FUSED):
        drawn = fused_draws(augment, fused_keys(augment, 3, 1), indices, 64, torch_mirror.draw)
        function, arguments = gather_batch, (pixels, indices, Draws(*(one.int() for one in drawn)), augment)
    else:
        rest = Rest(list(switched_on(augment, 64).values()), 3, "cuda")
        (drawn,) = rest.draws(1, [(np.arange(64), 64)])
        function, arguments = rest.chain, (pixels[:64], drawn)
    compiled = torch.compile(function, dynamic=False, fullgraph=True)
    assert torch.equal(compiled(*arguments), function(*arguments))


@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
def test_inside_an_epoch_resident_never_waits(augment):
    loader = make("cuda", augment, batch_size=50)
    for _ in loader:  # compiles
        pass
    batches = iter(loader)
    next(batches)
    with no_waiting():
        assert sum(1 for _ in batches) == 5


def host_batches(count, size):
    """Batches in pinned memory, each filled with its number, which the allocator is free to hand out again."""
    for number in range(count):
        images = torch.full((size, 64, 64, 3), number, dtype=torch.uint8, pin_memory=True)
        indices = torch.full((size,), number)
        yield Batch(images, indices.clone(), indices, size)


@pytest.mark.real_gpu
def test_copies_beside_a_busy_step_arrive_whole():
    """The step's stream lags behind the host, so that copies, uses and reused memory overlap as much as they can."""
    sums = []
    for batch in to_device(host_batches(40, 512), "cuda"):
        torch.cuda._sleep(BUSY_CYCLES)
        sums.append(torch.stack([batch.images.double().mean(), batch.labels.double().mean(),
                                 batch.indices.double().mean()]))
        del batch
    expected = torch.arange(40, dtype=torch.float64, device="cuda")[:, None].expand(40, 3)
    assert torch.equal(torch.stack(sums), expected)


@pytest.mark.real_gpu
def test_a_copy_overlaps_the_step():
    """While the step's stream sleeps, the copy of the batch after it gets done on its own."""
    batches = to_device(host_batches(3, 512), "cuda")
    next(batches)
    torch.cuda.synchronize()
    torch.cuda._sleep(100 * BUSY_CYCLES)
    slept = torch.cuda.Event()
    slept.record()
    side = torch.cuda.Stream()
    batch = next(batches)  # its copy was started one batch ahead
    with torch.cuda.stream(side):
        total = batch.images.sum()
        total.record_stream(side)
    side.synchronize()
    assert not slept.query(), "the copy waited for the step"
    assert int(total) == batch.images.numel()


@pytest.mark.parametrize("name", ["jpeg", "torch"])
def test_loaders_on_the_host_never_wait_for_the_gpu(name):
    loader = make("cuda", AUGMENTS[0], name, batch_size=50)
    batches = iter(loader)
    next(batches)
    with no_waiting():
        assert sum(1 for _ in batches) == 5
    loader.close()
