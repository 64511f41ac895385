"""The trainer on made-up data: repeatable, resumable at any step, honest about what it measures."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fasttrain import RunConfig, keyed
from fasttrain.config import fit_to_data
from fasttrain.errors import DataError, DivergedError, Interrupted
from fasttrain.models import build_model
from fasttrain.perf import ceilings
from fasttrain.perf.cost import training_cost
from fasttrain.runs.lifecycle import summarize
from fasttrain.runtime import resolve
from fasttrain.train import trainer as trainer_module
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.events import EventLog, Sink
from fasttrain.train.interrupt import StopFlag
from fasttrain.train.metrics import prediction_table
from fasttrain.train.norm import restore_norms
from fasttrain.train.rows import MEASURED
from fasttrain.train.trainer import Trainer
from tests.helpers import make_split


class Recorder(Sink):
    essential = True

    def __init__(self):
        self.losses, self.ticks = [], 0

    def epoch(self, epoch):
        self.losses += [step["loss"] for step in epoch.steps]

    def progress(self, progress):
        self.ticks += 1


class KillAt(Sink):
    """Sends this process a signal at its n-th train step."""

    essential = True

    def __init__(self, step, number):
        self.left, self.number = step, number

    def progress(self, progress):
        if progress.phase == "train":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)


def make_trainer(folder, sinks=(), train_images=22, size=32, **changes):
    values = {"epochs": 2, "batch_size": 4, "lr": 0.02, "image_size": size, "device": "cpu", "precision": "fp32",
              "compile": "off", "augment": {"crop_padding": 2}, **changes}
    train, val = make_split(train_images, size), make_split(7, size, name="val")
    config = fit_to_data(RunConfig(**values), len(train))
    return Trainer(config, resolve(config), train, val, Checkpoints(folder), EventLog(sinks))


def fit(trainer):
    """Trains as `run` does: signals are listened to."""
    with StopFlag().listening() as stop:
        return trainer.fit(stop)


def comparable(rows):
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]


def assert_same_end(one, other):
    assert comparable(one.rows) == comparable(other.rows)
    for (name, a), b in zip(one.step.model.state_dict().items(), other.step.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run of the head that draws random numbers."""
    trainer = make_trainer(tmp_path_factory.mktemp("whole"), head="dropout")
    fit(trainer)
    return trainer


def test_the_same_seed_twice_is_bit_identical(finished, tmp_path):
    again = make_trainer(tmp_path, head="dropout")
    torch.rand(7)  # what the process did before must not matter
    fit(again)
    assert_same_end(finished, again)
    other = make_trainer(tmp_path, head="dropout", seed=1)
    fit(other)
    assert comparable(other.rows) != comparable(finished.rows)


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_a_killed_run_resumes_to_the_same_weights(finished, tmp_path, step):
    killed = make_trainer(tmp_path, [KillAt(step, signal.SIGTERM)], head="dropout")
    with pytest.raises(Interrupted) as error:
        fit(killed)
    assert error.value.exit_code == 75

    resumed = make_trainer(tmp_path, head="dropout")
    resumed.load_state_dict(resumed.checkpoints.load("last"))
    assert resumed.epoch * len(resumed.train_loader) + resumed.step_in_epoch == step
    fit(resumed)
    assert_same_end(finished, resumed)


@pytest.mark.parametrize("every", [100, "auto", "60m"])
def test_a_stopped_run_is_saved_whatever_save_every_says(finished, tmp_path, every):
    killed = make_trainer(tmp_path, [KillAt(6, signal.SIGTERM)], head="dropout", save_every=every)
    killed.best = 100.0  # the first epoch is no better one
    with pytest.raises(Interrupted):
        fit(killed)
    assert killed.checkpoints.manifest()["last.pt"]["epoch"] == 1
    assert len(fit(make_trainer(tmp_path / "whole", epochs=1, save_every=every))) == 1
    assert Checkpoints(tmp_path / "whole").manifest().keys() == {"last.pt", "best.pt"}


def test_what_is_saved_after_which_epoch(tmp_path, monkeypatch):
    trainer, saved = make_trainer(tmp_path, epochs=6, save_every=4), []
    monkeypatch.setattr(trainer.saver, "save", lambda names, state: saved.append((state["epoch"], *names)))
    for trainer.epoch, top1 in enumerate([10.0, 9.0, 11.0, 11.0, 5.0, 5.0], 1):
        trainer.save({"val_top1": top1})
    assert saved == [(1, "best", "last"), (3, "best", "last"), (4, "last"), (6, "last")]


def test_a_full_disk_ends_the_run_in_one_line_and_an_error_waits_for_the_save(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(DataError, match="No space left on device"):
            fit(trainer)
    trainer = make_trainer(tmp_path, epochs=3)
    monkeypatch.setattr(trainer, "leave_if_asked", lambda stop: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(trainer)
    assert trainer.saver.thread is None and trainer.checkpoints.load("last")["epoch"] == 1


def test_a_row_says_what_saving_took_before_it(finished):
    first, second = (row["save_seconds"] for row in finished.rows)
    assert first == 0 and second > 0
def test_the_speed_of_an_epoch_in_two_parts_is_that_of_both(tmp_path, monkeypatch):
    clock = SimpleNamespace(elapsed=lambda: 100.0, seconds=7.0, over=lambda batches: batches)
    monkeypatch.setattr(trainer_module, "wait_clock", lambda device: clock)
    killed = make_trainer(tmp_path, [KillAt(3, signal.SIGTERM)])
    with pytest.raises(Interrupted):
        fit(killed)
    clock.elapsed, clock.seconds = (lambda: 20.0), 1.0
    resumed = make_trainer(tmp_path)
    resumed.load_state_dict(resumed.checkpoints.load("last"))
    first, second = fit(resumed)
    assert first["images_per_second"] == pytest.approx(20 / 120)  # the last, short batch is left out
    assert first["data_wait_fraction"] == pytest.approx(8 / 120)
    assert first["seconds"] == 140.0 and second["images_per_second"] == pytest.approx(20 / 20)


EXTRAS = {"mix": {"mixup": 0.4, "cutmix": 1.0}, "ema": 0.9, "tta": True}


@pytest.fixture(scope="module")
def finished_with_extras(tmp_path_factory):
    trainer = make_trainer(tmp_path_factory.mktemp("extras"), **EXTRAS)
    fit(trainer)
    return trainer


def test_mixing_and_averages_resume_to_the_same_weights(finished_with_extras, tmp_path):
    with pytest.raises(Interrupted):
        fit(make_trainer(tmp_path, [KillAt(3, signal.SIGTERM)], **EXTRAS))
    resumed = make_trainer(tmp_path, **EXTRAS)
    resumed.load_state_dict(resumed.checkpoints.load("last"))
    fit(resumed)
    assert_same_end(finished_with_extras, resumed)
    for one, other in zip(*(t.step.ema.model.state_dict().values() for t in (finished_with_extras, resumed)),
                          strict=True):
        assert torch.equal(one, other)


SIZES = {"sizes": "32x1,48x2", "size": 64, "mix": {"cutmix": 1.0}}


@pytest.mark.parametrize("step", [5, 6, 12])  # at the end of the first epoch, in the next size, in the middle of it
def test_a_run_of_several_sizes_resumes_to_the_same_weights(finished_with_sizes, tmp_path, step):
    with pytest.raises(Interrupted):
        fit(make_trainer(tmp_path, [KillAt(step, signal.SIGTERM)], epochs=None, **SIZES))
    resumed = make_trainer(tmp_path, epochs=None, **SIZES)
    resumed.load_state_dict(resumed.checkpoints.load("last"))
    fit(resumed)
    assert_same_end(finished_with_sizes, resumed)


@pytest.fixture(scope="module")
def finished_with_sizes(tmp_path_factory):
    trainer = make_trainer(tmp_path_factory.mktemp("sizes"), epochs=None, **SIZES)
    fit(trainer)
    return trainer


def test_rows_say_at_which_size_they_were_trained_and_measured(finished_with_sizes, monkeypatch):
    rows = finished_with_sizes.rows
    assert [row["train_image_size"] for row in rows] == [32, 48, 48] and {row["image_size"] for row in rows} == {64}
    monkeypatch.setattr(ceilings, "matmul_flops", lambda device, dtype: 1e11)
    costs = [training_cost("resnet18", "origin", 3, size, "standard", torch.float32, False) for size in (32, 48, 48)]
    flops = [row["images_per_second"] * cost.flops for row, cost in zip(rows, costs, strict=True)]
    assert summarize(finished_with_sizes, "done", started=0.0).mfu == pytest.approx(np.median(flops) / 1e11)


def test_a_size_without_an_epoch_is_told(tmp_path):
    trainer = make_trainer(tmp_path, size=64, sizes="32:0.9,64:0.1")
    assert any("64 px gets no whole epoch of 2" in note for note in trainer.notes)


def test_mirror_images_have_a_column_of_their_own(finished_with_extras, finished):
    assert all(0 <= row["val_top1_tta"] <= 100 and "train_top1_tta" not in row for row in finished_with_extras.rows)
    assert "val_top1_tta" not in finished.rows[0]


def test_ctrl_c_has_its_own_exit_code_and_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as error:
        fit(make_trainer(tmp_path, [KillAt(2, signal.SIGINT)]))
    assert error.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_after_the_last_step_ends_well(tmp_path):
    trainer = make_trainer(tmp_path, [KillAt(10, signal.SIGTERM)])
    assert len(fit(trainer)) == 2


def test_one_epoch_equals_a_loop_written_by_hand(tmp_path):
    """An independent oracle: torch's own optimizer, loss and order of operations on the keyed batches."""
    recorder = Recorder()
    trainer = make_trainer(tmp_path, [recorder], size=64, recipe="original", epochs=1, batch_size=8,
                           augment={"crop_padding": 0})
    fit(trainer)

    split, config = trainer.train_loader.spec.split, trainer.config
    model = build_model("resnet18", "origin", 3, 64, seed=config.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    mean, std = torch.tensor(split.mean).view(1, 3, 1, 1), torch.tensor(split.std).view(1, 3, 1, 1)
    losses = []
    for indices in np.split(keyed.permutation(config.seed, 0, 22), [8, 16]):
        x = torch.from_numpy(split.pixels[split.rows[indices]]).permute(0, 3, 1, 2).float() / 255
        loss = F.cross_entropy(model((x - mean) / std), torch.from_numpy(split.labels[indices]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert recorder.losses[0] == pytest.approx(losses[0], rel=1e-5)
    assert recorder.losses == pytest.approx(losses, rel=3e-2)  # rounding grows with every step of a tiny batch
    assert trainer.rows[0]["train_loss"] == pytest.approx(np.average(recorder.losses, weights=[8, 8, 6]), rel=1e-6)


def test_evaluation_counts_every_image_once(tmp_path):
    trainer = make_trainer(tmp_path, epochs=1)
    row = fit(trainer)[0]
    assert trainer.confusion.sum() == 7
    assert trainer.confusion.sum(1).tolist() == [3, 2, 2]
    assert row["val_top1"] == pytest.approx(100 * np.trace(trainer.confusion) / 7)
    predictions = prediction_table(trainer.val_loader.spec.split.labels, trainer.predicted)
    assert predictions["label"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert row["val_top1"] == pytest.approx(100 * np.mean(predictions["label"] == predictions["predicted"]))


def noting(calls, name, function):
    def wrapper(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)
    return wrapper


def test_the_loop_reads_nothing_back_between_epochs(tmp_path, monkeypatch):
    """Every `.item()` or `.tolist()` between two steps would stall a GPU."""
    trainer = make_trainer(tmp_path, epochs=1)
    fit(trainer)
    restore_norms(trainer.step.model)  # what only a CPU runs
    reads = []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, noting(reads, name, original))
    trainer.train_loader.set_epoch(0)
    for index, batch in enumerate(trainer.train_loader):
        trainer.step.train(batch, 0.1, index, index)
    for batch in trainer.val_loader:
        trainer.step.evaluate(batch)
    assert reads == []


def test_divergence_is_an_error_and_best_stays_finite(tmp_path):
    trainer = make_trainer(tmp_path, lr=1e18, epochs=3)
    with pytest.raises(DivergedError, match="lower --lr"):
        fit(trainer)
    for name in ("best", "last"):
        if f"{name}.pt" in trainer.checkpoints.manifest():
            assert all(torch.isfinite(v).all() for v in trainer.checkpoints.load(name)["model"].values())


def test_other_images_are_refused(tmp_path):
    trainer = make_trainer(tmp_path, epochs=1)
    fit(trainer)
    with pytest.raises(DataError, match="other images"):
        make_trainer(tmp_path, train_images=23).load_state_dict(trainer.checkpoints.load("last"))


def test_a_finished_run_tells_its_share_of_the_machines_arithmetic(finished, monkeypatch):
    monkeypatch.setattr(ceilings, "matmul_flops", lambda device, dtype: 1e11)
    found = summarize(finished, "done", started=0.0)
    cost = training_cost("resnet18", "dropout", 3, 32, "standard", torch.float32, False)
    assert found.mfu == pytest.approx(found.images_per_second * cost.flops / 1e11)
    assert summarize(finished, "interrupted", started=0.0).mfu is None  # it has to leave at once

    def no_memory(device, dtype):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ceilings, "matmul_flops", no_memory)
    assert summarize(finished, "done", started=0.0).mfu is None
