"""Several processes, or several slices in one, train as one process does: on the same samples, to the same weights."""

import hashlib
import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fasttrain import RunConfig
from fasttrain.config import fit_to_data
from fasttrain.data.batch import BatchPlan, LoaderSpec
from fasttrain.errors import Interrupted
from fasttrain.perf.passes import time_split
from fasttrain.perf.profile import IN_SLICES
from fasttrain.processes import ALONE, joined
from fasttrain.runtime import Runtime, resolve
from fasttrain.train import slices
from fasttrain.train import trainer as trainer_module
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.compile import warm_up
from fasttrain.train.events import EventLog, Sink
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.slices import SlicedStep
from fasttrain.train.trainer import Trainer
from tests.helpers import make_split
from tests.ranks import run_ranks
from tests.train.steps import GraphRuntime, assert_same, hold, make_batch, no_warning

SIZE = 32
MIXED = {"mix": {"mixup": 0.4, "cutmix": 1.0}}


class Frozen(nn.BatchNorm2d):
    """Normalises by its running statistics in training too, so that samples do not depend on each other."""

    def __init__(self, channels):
        super().__init__(channels)
        self.training = False

    def train(self, mode=True):
        return super().train(False)


def network(norm=nn.BatchNorm2d, dropout=0.2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2, bias=False), norm(8), nn.ReLU(),
                         nn.Conv2d(8, 8, 3, 2, 1, bias=False), norm(8), nn.ReLU(), nn.Flatten(),
                         nn.Dropout(dropout), nn.Linear(8 * 16, 3))


class Float64(Runtime):
    dtype = torch.float64


def make_trainer(processes, model, folder=None, images=26, runtime=None, **changes):
    values = {"epochs": 2, "batch_size": 8, "lr": 0.02, "image_size": SIZE, "device": "cpu", "precision": "fp32",
              "compile": "off", "augment": {"crop_padding": 2}, "drop_last": False, "threads": 1, **changes}
    train, val = make_split(images, SIZE), make_split(7, SIZE, name="val")
    config = fit_to_data(RunConfig(**values), len(train))
    trainer_module.new_network = lambda *_: model
    checkpoints = folder and Checkpoints(folder)
    return Trainer(config, runtime or resolve(config), train, val, checkpoints, EventLog(), processes)


def end(trainer):
    """What training came to: the sha256 of all weights and statistics, and the rows' values."""
    state = trainer.step.model.state_dict().values()
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state)).hexdigest()
    return digest, [(row["train_loss"], row["train_top1"], row["val_top1"]) for row in trainer.rows]


def train(changes):
    """In each process: trains to the end."""
    with joined(RunConfig(device="cpu")) as processes, tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(processes, network(), folder, **changes)
        trainer.fit()
        assert (Path(folder) / "last.pt").exists() == processes.first
        return end(trainer)


def continue_until(folder, changes, steps):
    """In each process: continues what is in `folder`, until the last process gets a signal after so many steps."""
    with joined(RunConfig(device="cpu")) as processes, StopFlag(once=True).listening() as stop:
        trainer = make_trainer(processes, network(), folder, **changes)
        if trainer.checkpoints.present():
            trainer.load_state_dict(trainer.checkpoints.load("last"))
        if processes.rank == processes.size - 1:
            trainer.events.sinks.append(SignalAfter(steps))
        try:
            trainer.fit(stop)
        except Interrupted as error:
            assert error.exit_code == 75 and "SIGTERM: saved" in str(error)
            processes.all(None)  # in place of the end of `joined`: nobody leaves before rank 0 has saved
            return trainer.step.steps
        return end(trainer)


def profiled(changes):
    """In each process: the phases of a step, in ms."""
    with joined(RunConfig(device="cpu")) as processes:
        trainer = make_trainer(processes, network(), **changes)
        split = time_split(trainer.step, trainer.train_loader, 2).per_step()
        return {phase: split[phase] for phase in IN_SLICES}


class SignalAfter(Sink):
    """Sends this process a SIGTERM after some training steps."""

    def __init__(self, steps):
        self.left = steps

    def progress(self, progress):
        self.left -= progress.phase == "train"
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def make_sliced(captured=False, **changes):
    """A SlicedStep of two slices in this process, over epochs of a full batch of eight and one of five images."""
    config = RunConfig(batch_size=8, lr=0.05, image_size=SIZE, device="cpu", precision="fp32", shards=2,
                       **{"compile": "off", **changes})
    runtime = (GraphRuntime if captured else Runtime)(torch.device("cpu"), "fp32", config.compile, True, 1)
    plan = BatchPlan(LoaderSpec(make_split(13, SIZE), 8, train=True))
    return SlicedStep(network(), config, runtime, make_split(13, SIZE), plan, 8, ALONE, 2)


def train_float64(changes, norm, steps):
    """In each process: trains in float64, without dropout; returns the weights after some steps."""
    torch.Tensor.float = torch.Tensor.double  # the step's own rounding of logits
    with joined(RunConfig(device="cpu")) as processes:
        runtime = Float64(torch.device("cpu"), "fp32", "off", True, 1)
        trainer = make_trainer(processes, network(norm, 0.0).double(), runtime=runtime, epochs=100, **changes)
        for epoch in range(100):
            trainer.train_loader.set_epoch(epoch)
            for index, batch in enumerate(trainer.train_loader):
                trainer.step.train(batch, 0.02, trainer.step.steps, index)
                if trainer.step.steps == steps:
                    sums = trainer.step.sums.clone()
                    processes.sum(sums[4:])
                    return [tensor.numpy() for tensor in trainer.step.model.state_dict().values()], sums.tolist()


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {**MIXED, "ema": 0.9}], ids=["fp32", "bf16", "mixed"])
def test_with_shards_weights_are_equal_to_the_bit_for_every_number_of_processes(changes):
    ends = [run_ranks(size, train, {"shards": 4, **changes}) for size in (1, 2, 4)]
    assert [one for ranks in ends for one in ranks] == [ends[0][0]] * 7
    (first, *_), (second, *_) = ends[0][0][1]
    assert np.isfinite([first, second]).all() and first != second


def test_more_shards_are_another_run_and_processes_alone_are_shards():
    """Two processes are two slices, whose sum of two needs no tree; dropout draws for each slice of its own."""
    one, two, four = (run_ranks(1, train, {"shards": shards})[0] for shards in (1, 2, 4))
    assert len({one[0], two[0], four[0]}) == 3
    assert run_ranks(2, train, {}) == [two, two]


def test_a_captured_slice_replays_for_each_and_what_follows_once(traced, graphs):  # noqa: F811
    plain, captured = make_sliced(), make_sliced(captured=True, compile="reduce-overhead")
    before = [tensor.clone() for tensor in captured.changing()]
    batches = [make_batch(8), make_batch(5)]
    warm_up(captured, batches, make_batch(8), no_warning)
    for kept, tensor in zip(before, captured.changing(), strict=True):
        assert torch.equal(kept, tensor)
    hold(captured)
    captured.launch_finish.graph.holder = captured.launch_finish
    for step in (plain, captured):
        for number in range(6):
            step.train(batches[number % 2], 0.05, number, number % 2)
    assert_same(plain, captured)
    assert [graph.replays for graph in graphs] == [6, 6, 0]  # two slices a full batch; the short ones ran as they are


class NeverDone:
    """The event of a step that waits for a peer for ever."""

    def query(self):
        return False


def wait_in_vain(path):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 2)
    slices.LIMIT = 0.05
    slices.wait_for(NeverDone())


def test_a_gpu_that_finishes_no_step_ends_its_process_in_one_line(tmp_path):
    with pytest.raises(AssertionError, match="ended without a word"):
        run_ranks(1, wait_in_vain, tmp_path / "said")
    said = "fasttrain: error: no step finished for 0.05 s: another process of this run does not answer\n"
    assert (tmp_path / "said").read_text() == said


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_was_stopped_three_times_and_changed_its_processes_each_time_ends_equal(tmp_path, precision):
    """100 steps; the last batch of each epoch has two images in four slices."""
    changes = {"shards": 4, "epochs": 25, "ema": 0.9, "precision": precision, "save_every": 1000}
    (unbroken,) = run_ranks(1, continue_until, tmp_path / "unbroken", changes, 0)
    before = 0
    for size, steps in ((2, 18), (4, 23), (1, 25)):
        (reached,) = set(run_ranks(size, continue_until, tmp_path / "broken", changes, steps))
        assert before + steps <= reached <= before + steps + 2 < 100
        before = reached
    assert run_ranks(2, continue_until, tmp_path / "broken", changes, 0) == [unbroken] * 2


def test_without_shards_a_run_goes_on_with_the_processes_it_had(tmp_path):
    (unbroken, _) = run_ranks(2, continue_until, tmp_path / "unbroken", {"epochs": 4}, 0)
    run_ranks(2, continue_until, tmp_path / "broken", {"epochs": 4}, 6)
    with pytest.raises(AssertionError, match="was trained by 2 processes so far, not 1: resume with --nproc 2"):
        run_ranks(1, continue_until, tmp_path / "broken", {"epochs": 4}, 0)
    assert run_ranks(2, continue_until, tmp_path / "broken", {"epochs": 4}, 0) == [unbroken] * 2


@pytest.mark.parametrize("size, steps, bound", [(2, 10, 1e-10), (3, 10, 1e-10), (2, 50, 1e-4)])
def test_in_float64_sync_bn_trains_as_one_process_does(size, steps, bound):
    """Its own backward pass against torch's, and its running statistics; the last batches are uneven, none is empty."""
    (alone, _), = run_ranks(1, train_float64, {"images": 29}, nn.BatchNorm2d, steps)
    for weights, _ in run_ranks(size, train_float64, {"images": 29, "sync_bn": True}, nn.BatchNorm2d, steps):
        assert max(np.abs(a - b).max() for a, b in zip(alone, weights, strict=True)) < bound


@pytest.mark.parametrize("size", [2, 3])
def test_in_float64_processes_train_as_one_does(size):
    """Batches of 8 and a last one of 2 over 3 processes: slices of uneven length, and one of no sample."""
    changes = {**MIXED, "label_smoothing": 0.1}
    (alone, sums), = run_ranks(1, train_float64, changes, Frozen, 50)
    for weights, same_sums in run_ranks(size, train_float64, changes, Frozen, 50):
        assert max(np.abs(a - b).max() for a, b in zip(alone, weights, strict=True)) < 1e-12
        np.testing.assert_allclose(same_sums, sums, rtol=1e-6)
