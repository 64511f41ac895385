"""The profile says what bounds a step, and is right where the answer is known."""

import gzip
import json
import time

import pytest
import torch
from torch import nn

from fasttrain import RunConfig
from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.perf import ceilings, profile
from fasttrain.perf.verdict import Shares, bound_by, sentence
from fasttrain.runtime import resolve
from fasttrain.train.step import Step
from tests.helpers import make_split

BATCH = 16
KEYS = {"phases_ms", "step_ms", "split_step_ms", "images_per_second", "mfu", "bandwidth_share", "ceilings", "bound",
        "verdict", "causes"}


class Late:
    """A loader that takes its time."""

    def __init__(self, loader, seconds):
        self.loader, self.seconds = loader, seconds

    def set_epoch(self, epoch):
        self.loader.set_epoch(epoch)

    def __iter__(self):
        for batch in self.loader:
            time.sleep(self.seconds)
            yield batch


@pytest.fixture
def step():
    config = RunConfig(batch_size=BATCH, lr=0.1, image_size=32, device="cpu", precision="fp32", compile="off")
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(14400, 3))
    return Step(network, config, resolve(config), make_split(48, 32), 3)


@pytest.fixture(autouse=True)
def an_idle_machine(monkeypatch):
    """Where tests run, other work may disturb them."""
    monkeypatch.setattr(profile, "disturbance", lambda *_: None)


@pytest.fixture(autouse=True)
def known_ceilings(request, monkeypatch):
    """Measuring them takes a second or two."""
    if "plausible" not in request.node.name:
        monkeypatch.setattr(ceilings, "measure", lambda *_: {"copy_bytes_per_second": 1e10, "matmul_flops": 1e11})


def make_loader(name):
    return loaders.build(name, LoaderSpec(make_split(48, 32), BATCH, train=True))


def test_a_loader_slower_than_the_step_is_what_bounds_it(step):
    quick = profile.profile(step, make_loader("resident"), "resident", steps=5)
    delay = 3 * quick.result["split_step_ms"] / 1e3
    late = profile.profile(step, Late(make_loader("resident"), delay), "resident", steps=5)
    assert late.result["bound"] == "data"
    assert late.result["phases_ms"]["loader_wait"] >= 1e3 * delay
    assert late.details["loader_wait_ms"] >= 1e3 * delay
    assert late.result["step_ms"] > quick.result["step_ms"]


def test_a_constant_batch_is_never_waited_for(step):
    found = profile.profile(step, make_loader("constant"), "constant", steps=20)
    assert found.result["bound"] != "data"


def test_the_pieces_make_up_their_step_and_measuring_costs_little(step, tmp_path):
    weights = [p.detach().clone() for p in step.model.parameters()]
    found = profile.profile(step, make_loader("resident"), "resident", 7, tmp_path / "trace.json.gz")
    result = found.result
    assert set(result) == KEYS and tuple(result["phases_ms"]) == profile.PHASES
    assert sum(result["phases_ms"].values()) == pytest.approx(result["split_step_ms"], rel=0.03)
    assert result["images_per_second"] == pytest.approx(BATCH / result["step_ms"] * 1e3)
    assert result["mfu"] > 0 and result["bandwidth_share"] > 0
    assert min(found.details["measuring_share"].values()) > 0
    assert any(row["name"] == "aten::addmm" for row in found.details["operators"])
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    for before, after in zip(weights, step.model.parameters(), strict=True):
        assert torch.equal(before, after)
    json.dumps(found.result), json.dumps(found.details)


@pytest.mark.parametrize("shares, device, bound", [
    (Shares(data=0.6, launch=0.0, bandwidth=0.1, mfu=0.2), "cpu", "data"),
    (Shares(data=0.2, launch=0.0, bandwidth=0.1, mfu=0.2), "cpu", "compute"),
    (Shares(data=0.2, launch=0.0, bandwidth=0.1, mfu=0.2), "cuda", "data"),
    (Shares(data=0.01, launch=0.4, bandwidth=0.3, mfu=0.2), "cuda", "launch"),
    (Shares(data=0.01, launch=0.1, bandwidth=0.6, mfu=0.3), "cuda", "bandwidth"),
    (Shares(data=0.01, launch=0.1, bandwidth=0.3, mfu=0.6), "cuda", "compute"),
])
def test_each_verdict_names_its_number_and_something_to_try(shares, device, bound):
    assert bound_by(shares, device) == bound
    words = []
    for compiled, precision in (("off", "fp32"), ("off", "bf16"), ("reduce-overhead", "bf16")):
        setting = {"loader": "jpeg", "batch_size": 64, "compile": compiled, "precision": precision,
                   "device_type": device}
        words.append(sentence(bound, shares, {"copy_bytes_per_second": 4.3e12, "matmul_flops": 7.9e14}, setting))
        assert "\n" not in words[-1] and "; try " in words[-1]
    number = {"data": shares.data, "launch": shares.launch, "bandwidth": shares.bandwidth, "compute": shares.mfu}[bound]
    assert all(text.startswith(f"{bound}-bound: ") and f"{number:.0%}" in text for text in words)


def test_ceilings_of_this_machine_are_plausible():
    found = ceilings.measure("cpu", torch.float32)
    assert 1e8 < found["copy_bytes_per_second"] < 1e13 and 1e8 < found["matmul_flops"] < 1e15
    assert 1e-8 < ceilings.operator_seconds() < 1e-2
