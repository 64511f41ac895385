"""The profile names what makes a step slow, and nothing where nothing does."""

import contextlib
import os
import time

import pytest
import torch
from torch import nn

from fasttrain import RunConfig
from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.perf import causes, ceilings, passes, profile, trace
from fasttrain.perf.disturbance import disturbance
from fasttrain.runtime import native_bf16, resolve
from fasttrain.train.step import Step
from tests.helpers import make_split

BATCH = 16


class Network(nn.Module):
    """Twelve convolutions on few weights."""

    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(*(layer for k in range(12) for layer in (
            nn.Conv2d(3 if k == 0 else width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(ceilings, "measure", lambda *_: {"copy_bytes_per_second": 1e10, "matmul_flops": 1e11})
    monkeypatch.setattr(ceilings, "operator_seconds", lambda: 1e-6)
    monkeypatch.setattr(passes, "UNTIMED_STEPS", 1)
    monkeypatch.setattr(trace, "TRACED_STEPS", 1)
    monkeypatch.setattr(profile, "cores", lambda: torch.get_num_threads())
    # the cost of this network is not that of the variant in its config
    monkeypatch.setattr(causes, "WEIGHT_SHARE", 1.0)


def make_step(width=4, **config):
    own = {"batch_size": BATCH, "lr": 0.1, "image_size": 32, "device": "cpu", "compile": "off"}
    config = RunConfig(**{**own, **config})
    return Step(Network(width), config, resolve(config), make_split(48, 32), 3)


def named(step, wrap=lambda loader: loader):
    loader = loaders.build("resident", LoaderSpec(make_split(48, 32), BATCH, train=True))
    found = profile.profile(step, wrap(loader), "resident", steps=2)
    return [row["name"] for row in found.result["causes"] if row["found"]]


class Late:
    """A loader that does something before each batch."""

    def __init__(self, loader, work):
        self.loader, self.work, self.set_epoch = loader, work, loader.set_epoch

    def __iter__(self):
        for batch in self.loader:
            self.work()
            yield batch


def test_an_undisturbed_step_names_nothing():
    assert named(make_step()) == []


def test_a_loader_that_computes_and_one_that_reads_files_are_told_apart(tmp_path):
    (tmp_path / "images").write_bytes(bytes(BATCH * 3 * 32 * 32))

    def compute():
        started = time.process_time()
        while time.process_time() - started < 0.4:
            sum(range(1000))

    def read():
        time.sleep(0.4)
        (tmp_path / "images").read_bytes()

    step = make_step()
    assert named(step, lambda loader: Late(loader, compute)) == ["loader"]
    assert named(step, lambda loader: Late(loader, read)) == ["disk"]


@pytest.mark.skipif(not native_bf16(torch.device("cpu")), reason="needs native bf16")
def test_casting_as_many_kernels_as_there_are_images_copies_no_activation():
    step = make_step(width=BATCH, precision="bf16")
    step.model.body.insert(3, nn.AdaptiveAvgPool2d(4))  # small maps: convolutions cast their weights themselves
    assert named(step) == []


def test_reads_and_copies_by_hooks_are_counted():
    step = make_step()
    handle = step.model.register_forward_hook(lambda module, inputs, output: print(end=f"{output.sum().item():.0}"[:0]))
    assert named(step) == ["host read"]
    handle.remove()
    kept = {}
    for layer in step.model.body:
        layer.register_forward_hook(lambda module, inputs, output: kept.update({module: output.detach().clone()}))
    assert named(step) == ["activation copies"]


def test_layout_precision_and_threads_are_seen(monkeypatch):
    assert named(make_step(channels_last=False)) == ["layout"]
    if native_bf16(torch.device("cpu")):
        assert named(make_step(precision="fp32")) == ["precision"]
    else:
        assert named(make_step(precision="bf16")) == ["precision"]
    monkeypatch.setattr(profile, "cores", lambda: 2 * torch.get_num_threads())
    assert named(make_step()) == ["threads"]


def test_an_optimizer_that_goes_tensor_by_tensor_is_seen():
    step = make_step()
    step.optimizer = torch.optim.SGD(step.model.parameters(), lr=0.0, momentum=0.9, foreach=False, fused=False)
    assert named(step) == ["optimizer"]


def test_compiling_in_each_step_is_seen():
    step, seen = make_step(), iter(range(100))

    @torch.compile(backend="eager", dynamic=False)
    def scaled(logits, number):
        return logits * number

    step.model.register_forward_hook(lambda module, inputs, output: scaled(output, 1 + next(seen) * 1e-6))
    assert named(step)[0] == "recompile"


def test_a_small_batch_is_one_whose_weights_outweigh_its_images(monkeypatch):
    monkeypatch.setattr(causes, "WEIGHT_SHARE", 0.6)
    facts = {"weight_share": 0.61, "batch_size": 8}
    assert causes.batch(facts, {}).found and not causes.batch(facts | {"weight_share": 0.59}, {}).found


@pytest.mark.parametrize("whole, split, steps, delay, device, words", [
    (2067, 978, [2067] * 5, 0.0, "cpu", "2,067 ms as it trains and 978 ms in pieces"),
    (978, 2067, [978] * 5, 0.0, "cpu", "978 ms as it trains and 2,067 ms in pieces"),
    (978, 2067, [978] * 5, 0.0, "cuda", None),
    (100, 101, [100] * 5, 0.34, "cpu", "other work had the core for 34% of the time"),
    (100, 101, [100] * 20 + [900] * 5, 0.0, "cpu", "from 100 to 900 ms"),
    (100, 101, [100] * 30 + [900], 0.0, "cpu", None),
    (100, 110, [95, 100, 105], 0.01, "cpu", None),
])
def test_a_disturbed_measurement_is_noticed(whole, split, steps, delay, device, words):
    found = disturbance(whole, split, steps, delay, device)
    assert found is None if words is None else words in found


def test_waiting_for_a_core_is_told_by_the_system():
    """Two busy processes on one core: each waits for about half of the time."""
    from fasttrain.perf.usage import Usage

    core = min(os.sched_getaffinity(0))
    allowed, child = os.sched_getaffinity(0), os.fork()
    if child == 0:
        os.sched_setaffinity(0, {core})
        while True:
            sum(range(1000))
    try:
        os.sched_setaffinity(0, {core})
        before = Usage.now()
        while time.perf_counter() - before.seconds < 0.5:
            sum(range(1000))
        used = Usage.now().since(before)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, allowed)
    if not os.path.exists("/proc/thread-self/schedstat"):
        pytest.skip("this kernel does not tell how long a thread waits")
    assert 0.1 < used.delay_share < 0.99
