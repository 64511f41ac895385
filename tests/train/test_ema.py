"""Averaged weights against a loop written by hand."""

import torch
from torch import nn

from fasttrain.train.ema import Ema, decay_at
from tests.train.steps import make_batch, make_step, train


def test_the_average_is_that_of_a_loop():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    ema = Ema(network, 0.5)
    expected = [parameter.detach().clone() for parameter in network.parameters()]
    for step in range(8):
        network(torch.randn(5, 4))  # moves the statistics
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        ema.prepare(step)
        ema.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = [decay * average + (1 - decay) * now.detach()
                    for average, now in zip(expected, network.parameters(), strict=True)]
    for average, value in zip(ema.model.parameters(), expected, strict=True):
        torch.testing.assert_close(average, value, check_stride=False)
    for one, other in zip(ema.model.buffers(), network.buffers(), strict=True):
        assert torch.equal(one, other)
    assert ema.model[1].num_batches_tracked == 8
    assert not ema.model.training and not any(parameter.requires_grad for parameter in ema.model.parameters())


def test_the_decay_rises_to_what_was_asked_for():
    assert decay_at(0.99, 0) == 0.1
    assert decay_at(0.99, 880) == 881 / 890 < 0.99
    assert decay_at(0.99, 891) == decay_at(0.99, 10**6) == 0.99


def test_evaluation_measures_the_average_and_training_goes_on_unchanged():
    plain, averaged = train(make_step(), [make_batch()]), train(make_step(ema=0.9), [make_batch()])
    for one, other in zip(plain.model.state_dict().values(), averaged.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert plain.sums[0] != averaged.sums[0]
    plain.model.load_state_dict(averaged.ema.model.state_dict())
    for step in (plain, averaged):
        step.reset()
        step.evaluate(make_batch())
    assert torch.equal(plain.sums, averaged.sums)
    assert averaged.model.training


def test_a_state_brings_the_average_back():
    step, other = train(make_step(ema=0.9), [make_batch()]), make_step(ema=0.9)
    other.load_state_dict(step.state_dict())
    for one, two in zip(step.ema.tensors(), other.ema.tensors(), strict=True):
        assert torch.equal(one, two)
    assert "ema" not in make_step().state_dict()
