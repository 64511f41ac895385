"""Schedules, against torch's where torch has them."""

import pytest
import torch

from fasttrain import RunConfig
from fasttrain.train.schedules import learning_rate


def test_the_original_recipe_is_steplr():
    config = RunConfig(recipe="original", epochs=70)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=config.lr)
    oracle = torch.optim.lr_scheduler.StepLR(optimizer, 30, 0.1)
    for epoch in range(70):
        for step in (0, 4):
            assert learning_rate(config, epoch * 5 + step, 5) == pytest.approx(oracle.get_last_lr()[0])
        optimizer.step()
        oracle.step()


def test_peak_rises_to_lr_and_ends_near_zero():
    config = RunConfig(epochs=10, lr=2.0)
    rates = [learning_rate(config, step, 100) for step in range(1000)]
    peak = rates.index(max(rates))
    assert peak in (199, 200) and max(rates) == pytest.approx(2.0, rel=0.01)
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[0] < 0.01 and 0 < rates[-1] < 0.01


def test_no_warm_up_and_only_warm_up():
    assert learning_rate(RunConfig(epochs=1, lr=1.0, schedule={"warmup": 0}), 0, 1) == pytest.approx(0.5)
    assert learning_rate(RunConfig(epochs=1, lr=1.0, schedule={"warmup": 1}), 0, 1) == pytest.approx(0.5)


def test_cosine_is_torchs_at_the_middle_of_each_step():
    config = RunConfig(epochs=5, lr=2.0, schedule={"name": "cosine", "warmup": 0})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.lr)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2 * 5 * 4)  # in half steps
    for step in range(5 * 4):
        optimizer.step()
        oracle.step()
        assert learning_rate(config, step, 4) == pytest.approx(oracle.get_last_lr()[0])
        oracle.step()


def test_cosine_warms_up_linearly_and_goes_on_where_that_ends():
    config = RunConfig(epochs=10, lr=2.0, schedule={"name": "cosine", "warmup": 0.25})
    rates = [learning_rate(config, step, 100) for step in range(1000)]
    assert rates[:250] == pytest.approx([2.0 * (step + 0.5) / 250 for step in range(250)])
    assert rates[250] == pytest.approx(2.0, rel=1e-4)
    assert rates[250:] == sorted(rates[250:], reverse=True) and 0 < rates[-1] < 1e-4
    assert rates[625] == pytest.approx(1.0, abs=0.01)  # half-way down
