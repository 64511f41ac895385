"""BatchNorm's statistics at full size after an epoch on small images."""

import pytest
import torch

from fasttrain.train.recalibrate import recalibrate
from tests.train.test_trainer import assert_same_end, fit, make_trainer

SIZES = {"sizes": "32x1,48x1,64x1", "size": 64, "epochs": None}


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_statistics_are_the_mean_over_the_batches(tmp_path, ema):
    trainer = make_trainer(tmp_path, size=64, ema=ema, recalibrate=3)
    step, batches = trainer.step, list(trainer.train_loader)[:3]
    recalibrate(step, batches)
    norm, conv = step.evaluated.bn1, step.evaluated.conv1
    with torch.no_grad():
        maps = [conv(step.normalize(batch.images)) for batch in batches]
    expected = [torch.stack([function(one) for one in maps]).mean(0)
                for function in (lambda x: x.mean((0, 2, 3)), lambda x: x.transpose(0, 1).flatten(1).var(1))]
    torch.testing.assert_close(norm.running_mean, expected[0])
    torch.testing.assert_close(norm.running_var, expected[1])
    assert norm.momentum == 0.1


def test_training_goes_on_as_it_would_and_resumes_to_the_bit(tmp_path):
    plain, whole = make_trainer(tmp_path / "plain", **SIZES), make_trainer(tmp_path / "whole", recalibrate=2, **SIZES)
    for trainer in (plain, whole):
        fit(trainer)
    for one, other in zip(plain.step.model.parameters(), whole.step.model.parameters(), strict=True):
        assert torch.equal(one, other)
    losses = [[row["val_loss"] for row in trainer.rows] for trainer in (plain, whole)]
    assert losses[0][0] != losses[1][0] and losses[0][1] != losses[1][1]
    resumed = make_trainer(tmp_path / "whole", recalibrate=2, **SIZES)
    resumed.load_state_dict(whole.checkpoints.load("previous"))
    assert 0 < resumed.epoch < 3
    fit(resumed)
    assert_same_end(whole, resumed)
