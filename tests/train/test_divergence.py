"""Divergence: found at the epoch's end whatever is not finite, gone back from at most three times, to the bit."""

import json
import signal

import pytest
import torch

from fasttrain.errors import DivergedError, Interrupted
from fasttrain.processes import joined
from fasttrain.runs.sinks.files import FilesSink
from fasttrain.train import trainer as trainer_module
from fasttrain.train.divergence import MOST, SMALLEST_SCALE
from fasttrain.train.events import Sink
from fasttrain.train.rows import row_to_json
from tests.ranks import run_ranks
from tests.train.test_slices import make_trainer as make_shared_trainer
from tests.train.test_slices import network
from tests.train.test_trainer import KillAt, assert_same_end, comparable, fit, make_trainer


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A network of two convolutions, with dropout: a fault is one in any."""
    monkeypatch.setattr(trainer_module, "new_network", lambda *_: network())


STEPS = 5  # of an epoch of `make_trainer`


class Told(Sink):
    def __init__(self):
        self.warnings, self.rows = [], []

    def message(self, text, level="info"):
        self.warnings += [text] if level == "warning" else []

    def epoch(self, epoch):
        self.rows.append(epoch.row)


def poison(trainer, at, spoil, rates=1.0):
    """Calls `spoil(step)` after global step `at` (from 0) wherever the rate is above `rates` times what it was there.

    So it is a fault that a lower learning rate heals, as that of a real run is.
    """
    train, limit = trainer.step.train, trainer.rate(at) * rates

    def spoiled(batch, lr, step, index):
        train(batch, lr, step, index)
        if step == at and lr >= limit:
            spoil(trainer.step)

    trainer.step.train = spoiled
    return trainer


def spoil_weight(step):
    with torch.no_grad():
        next(step.model.parameters())[0] = float("nan")


def spoil_gradient(step):
    """As an optimizer step by a gradient that is infinite: momentum and weight."""
    parameter = next(step.model.parameters())
    parameter.grad = torch.full_like(parameter, float("inf"))
    step.optimizer.step()
    step.optimizer.zero_grad()


def spoil_variance(step):
    next(buffer for name, buffer in step.model.named_buffers() if name.endswith("running_var"))[0] = float("inf")


def spoil_average(step):
    next(step.ema.model.parameters()).data[0] = float("inf")


def spoil_momentum(step):
    next(iter(step.optimizer.state.values()))["momentum_buffer"][0] = float("nan")


def spoil_loss(step):
    step.losses[2] = float("inf")


SPOILS = [spoil_weight, spoil_gradient, spoil_variance, spoil_average, spoil_momentum, spoil_loss]


def tensors(value):
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from tensors(inner)


def assert_saved_is_finite(checkpoints):
    for name in checkpoints.present():
        assert all(torch.isfinite(tensor).all() for tensor in tensors(checkpoints.load(checkpoints.path(name).stem)))


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("at", [STEPS + 2, 2 * STEPS - 1])  # in the middle of the second epoch; its last step
def test_whatever_is_not_finite_is_gone_back_from_once_and_never_saved(tmp_path, spoil, at):
    told = Told()
    trainer = poison(make_trainer(tmp_path, [told], epochs=3, ema=0.9), at, spoil)
    plain = make_trainer(tmp_path / "plain", epochs=3, ema=0.9)
    rows = fit(trainer)
    assert_saved_is_finite(trainer.checkpoints)
    (line,) = told.warnings
    assert line.startswith("epoch 2: diverged at step ") and "back to the end of epoch 1" in line and "(1 of 3 " in line
    assert comparable(rows[:1]) == comparable(fit(plain)[:1]) and "rollbacks" not in rows[0]
    assert [row["rollbacks"] for row in rows[1:]] == [1, 1]
    assert [row["lr"] for row in rows[1:]] == [row["lr"] / 2 for row in plain.rows[1:]]
    assert told.rows == rows  # the epoch that diverged was announced once, as it was in the end


def test_going_back_is_training_the_epoch_at_half_the_rate(tmp_path):
    trainer = poison(make_trainer(tmp_path / "one"), STEPS + 2, spoil_weight)
    fit(trainer)
    other = make_trainer(tmp_path / "other", epochs=2)
    rate = other.rate
    other.rate = lambda step: rate(step) / (2 if step >= STEPS else 1)
    fit(other)
    for one, two in zip(trainer.step.model.parameters(), other.step.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_first_epoch_goes_back_to_the_start(tmp_path):
    told = Told()
    trainer = poison(make_trainer(tmp_path, [told]), 1, spoil_weight, rates=0.4)  # heals at a quarter of the rate
    assert [row["rollbacks"] for row in fit(trainer)] == [2, 2]
    assert ["(1 of 3 " in told.warnings[0], "(2 of 3 " in told.warnings[1], len(told.warnings)] == [True, True, 2]


def test_after_three_times_the_run_ends_by_naming_epoch_and_step_and_keeps_the_last_good_state(tmp_path):
    told = Told()
    trainer = make_trainer(tmp_path, [told], epochs=3, save_every=100)
    trainer.best = 100.0  # no epoch is a better one: only the end saves
    poison(trainer, STEPS + 2, spoil_weight, rates=0)
    with pytest.raises(DivergedError, match="epoch 2: diverged at step 9, with 0.125 times .*; lower --lr") as error:
        fit(trainer)
    assert error.value.exit_code == 4 and len(told.warnings) == MOST
    assert trainer.rows[-1]["diverged_step"] == 9 and json.loads(row_to_json(trainer.rows[-1]))
    last = trainer.checkpoints.load("last")
    assert (last["epoch"], last["step_in_epoch"], last["rollbacks"], len(last["rows"])) == (1, 0, MOST, 1)
    assert_saved_is_finite(trainer.checkpoints)


@pytest.mark.parametrize("kill", [STEPS + 1, STEPS + 4, 2 * STEPS, 2 * STEPS + 2, 3 * STEPS])
def test_a_run_that_diverges_and_is_stopped_ends_as_one_that_is_not_stopped(tmp_path, kill):
    """Stopped before and after the fault, and while its epoch is trained again: steps are counted with that one."""
    options = {"epochs": 3, "ema": 0.9}
    whole = poison(make_trainer(tmp_path / "whole", **options), STEPS + 2, spoil_weight, rates=0.4)
    fit(whole)
    stopped = poison(make_trainer(tmp_path / "run", [KillAt(kill, signal.SIGTERM)], **options), STEPS + 2, spoil_weight,
                     rates=0.4)
    with pytest.raises(Interrupted):
        fit(stopped)
    assert_saved_is_finite(stopped.checkpoints)
    resumed = make_trainer(tmp_path / "run", **options)
    poison(resumed, STEPS + 2, spoil_weight, rates=0.4)
    resumed.load_state_dict(resumed.checkpoints.load("last"))
    fit(resumed)
    assert_same_end(whole, resumed)
    assert resumed.rows[-1]["rollbacks"] == 2


def test_a_run_killed_between_two_saves_goes_back_as_the_unbroken_one(tmp_path):
    whole = poison(make_trainer(tmp_path, epochs=4, save_every=100), 2 * STEPS + 1, spoil_variance)
    whole.best = 100.0
    fit(whole)
    early = make_trainer(tmp_path / "early", epochs=4, save_every=1)
    saves = early.checkpoints.save
    early.checkpoints.save = lambda names, state: saves(names, state) if state["epoch"] < 2 else None
    fit(early)
    resumed = poison(make_trainer(tmp_path / "early", epochs=4), 2 * STEPS + 1, spoil_variance)
    resumed.load_state_dict(resumed.checkpoints.load("last"))
    fit(resumed)
    assert_same_end(whole, resumed)


def test_a_scale_that_fp16_has_lowered_for_long_is_a_divergence_and_fewer_skips_are_none(tmp_path):
    scaler = torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1)
    trainer = make_trainer(tmp_path)
    trainer.step.scaler, scale = scaler, []
    for _ in range(31):
        scaler.scale(torch.tensor(1.0))
        optimizer.param_groups[0]["params"][0].grad = torch.tensor([float("inf")])
        scaler.step(optimizer)
        scaler.update()
        scale.append(trainer.guard.began(STEPS))
    assert scale == [None] * 29 + [STEPS - 1] * 2 and scaler.get_scale() < SMALLEST_SCALE


def test_rows_of_a_run_that_went_back_are_in_its_files(tmp_path):
    sink = FilesSink(tmp_path)
    sink.metrics = (tmp_path / "metrics.jsonl").open("a")
    fit(poison(make_trainer(tmp_path / "c", [sink]), STEPS + 1, spoil_weight))
    sink.close()
    assert [json.loads(line).get("rollbacks") for line in (tmp_path / "metrics.jsonl").open()] == [None, 1]
    assert (tmp_path / "results.csv").read_text().splitlines()[0].endswith(",rollbacks")


def test_one_number_is_read_an_epoch(tmp_path, monkeypatch):
    trainer, reads = make_trainer(tmp_path), []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, original=original: (reads.append(1), original(self))[1])
    assert trainer.guard.began(STEPS) is None and len(reads) == 1


def diverge_together(folder):
    from fasttrain import RunConfig

    with joined(RunConfig(device="cpu")) as processes:
        trainer = make_shared_trainer(processes, network(), folder)
        poison(trainer, 5, spoil_weight, rates=0.4)
        rows = fit(trainer)
        return [row.get("rollbacks") for row in rows], [p.sum().item() for p in trainer.step.model.parameters()]


def test_all_processes_go_back_to_the_same_state(tmp_path):
    one, two = run_ranks(2, diverge_together, tmp_path)
    assert one == two and one[0] == [None, 2]
