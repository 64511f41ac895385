"""What is particular to the loaders that decode on the host: damaged images, reading ahead, the copy to a GPU."""

import dataclasses
import os
import signal
import time

import numpy as np
import pytest
import torch

from fasttrain.config import Augment
from fasttrain.data import decode, loaders
from fasttrain.data.batch import Batch, LoaderSpec
from fasttrain.data.loaders import jpeg
from fasttrain.data.loaders.torch_dataloader import ImageDataset
from fasttrain.data.prefetch import to_device
from fasttrain.errors import DataError
from tests.helpers import make_split

LOADERS = ["jpeg", "torch"]


@pytest.fixture
def build():
    made = []

    def build(name, split, *args, **options):
        made.append(loaders.build(name, LoaderSpec(split, *args, **options)))
        return made[-1]

    yield build
    for loader in made:
        loader.close()


@pytest.mark.parametrize("name", LOADERS)
def test_a_damaged_image_ends_in_one_line_and_the_loader_lives_on(build, name):
    split = make_split(12)
    damaged = split.jpeg.copy()
    damaged[split.offsets[split.rows[7]]:][:100] = 0
    loader = build(name, dataclasses.replace(split, jpeg=damaged), 4, train=False)
    for _ in range(2):
        seen = []
        with pytest.raises(DataError, match=f"loader {name}: .*train image") as caught:
            seen.extend(batch.indices.tolist() for batch in loader)
        assert seen == [[0, 1, 2, 3]]
        assert "\n" not in str(caught.value) and "fasttrain data verify" in str(caught.value)


def test_jpeg_decodes_two_batches_ahead_and_no_further(build, monkeypatch):
    decoded, real = [], decode.decode_plain
    monkeypatch.setattr(jpeg, "decode_plain", lambda data, out: decoded.append(1) or real(data, out))
    loader = build("jpeg", make_split(200), 20, train=False)
    loader.threads = 2
    batches = iter(loader)
    next(batches)
    last = 0
    while last != len(decoded):
        last = len(decoded)
        time.sleep(0.1)
    assert 40 <= last <= 20 * 4  # one handed out, two ahead, and one that may be cut between threads
    batches.close()


def test_torch_serves_pixels_where_there_is_no_jpeg(build):
    split = make_split(9)
    augment = Augment(crop_padding=3, flip="random", cutout=4)
    decoded = list(build("torch", split, 4, train=True, augment=augment))
    stored = list(build("torch", dataclasses.replace(split, jpeg=None, offsets=None), 4, train=True, augment=augment))
    for one, other in zip(decoded, stored, strict=True):
        assert torch.equal(one.images, other.images)


def test_signals_to_the_process_group_leave_the_workers_alone(build):
    """Ctrl-C reaches every process of the group; the trainer still finishes its step."""
    loader = build("torch", make_split(40), 4, train=False)
    assert sum(batch.valid for batch in loader) == 40
    for worker in loader.loader._iterator._workers:
        assert os.getpgid(worker.pid) == worker.pid != os.getpgid(0)


def test_a_killed_worker_ends_in_one_line(build, monkeypatch):
    monkeypatch.setattr(ImageDataset, "open", lambda dataset, row: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError, match="a worker failed .*(killed by signal|exited unexpectedly)"):
        list(build("torch", make_split(4), 4, train=False))


def host_batches(count, closed):
    try:
        for k in range(count):
            yield Batch(torch.full((2, 4, 4, 3), k, dtype=torch.uint8), torch.tensor([k, k]), torch.tensor([k, k]), 2)
    finally:
        closed.append(True)


def test_on_a_cpu_batches_pass_as_they_are():
    batches = host_batches(3, [])
    assert to_device(batches, "cpu") is batches


@pytest.mark.real_gpu
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_batches_arrive_whole_one_ahead_and_leaving_closes_the_source():
    closed = []
    arrived = list(to_device(host_batches(5, closed), "cuda"))
    assert [batch.images.unique().tolist() for batch in arrived] == [[k] for k in range(5)]
    assert all(tensor.is_cuda for batch in arrived for tensor in batch[:3]) and closed == [True]
    early = to_device(host_batches(5, closed), "cuda")
    next(early)
    early.close()
    assert closed == [True, True]


@pytest.mark.real_gpu
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_no_copy_overtakes_a_busy_step():
    """The memory of a batch that was let go is not written by the next copy while the step still reads it."""
    def big(count):
        for k in range(count):
            images = torch.full((512, 64, 64, 3), k, dtype=torch.uint8).pin_memory()
            yield Batch(images, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 512)

    sums = []
    for batch in to_device(big(20), "cuda"):
        torch.cuda._sleep(20_000_000)
        sums.append(batch.images.sum(dtype=torch.int64))
        del batch
    np.testing.assert_array_equal(torch.stack(sums).cpu(), np.arange(20) * 512 * 64 * 64 * 3)
