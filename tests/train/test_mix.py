"""Mixup and CutMix against their papers' formulas in numpy, and as pure functions of the step."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fasttrain.config import Mix
from fasttrain.train.mix import draw_mix, mix_images, mixed_loss

SIZE = 16
MIXUP, CUTMIX, BOTH = Mix(mixup=0.4), Mix(cutmix=1.0), Mix(mixup=0.4, cutmix=1.0)


def draws(mix, count=2000):
    return np.array([draw_mix(mix, 0, step, SIZE) for step in range(count)])


def mixed(images, drawn):
    return mix_images(images, images.roll(1, 0), torch.tensor(drawn, dtype=torch.float32))


@pytest.fixture
def images():
    return torch.from_numpy(np.random.RandomState(0).rand(5, 3, SIZE, SIZE).astype(np.float32))


def test_mixup_is_a_weighted_mean_of_images_and_losses(images):
    drawn = draw_mix(MIXUP, seed=3, step=7, size=SIZE)
    share = drawn[-1]
    x = images.numpy()
    np.testing.assert_allclose(mixed(images, drawn), share * x + (1 - share) * np.roll(x, 1, 0), rtol=1e-5, atol=1e-6)

    logits, labels = torch.from_numpy(np.random.RandomState(1).randn(5, 4)).float(), torch.tensor([0, 1, 2, 3, 0])
    loss, main = mixed_loss(logits, labels, labels.roll(1), torch.tensor(drawn), 0.1)
    target = share * np.eye(4)[labels] + (1 - share) * np.eye(4)[np.roll(labels, 1)]
    target = 0.9 * target + 0.1 / 4
    log_softmax = logits.numpy() - np.log(np.exp(logits.numpy()).sum(1, keepdims=True))
    assert loss.item() == pytest.approx(-(target * log_softmax).sum(1).mean(), rel=1e-5)
    assert main.tolist() == (labels if share >= 0.5 else labels.roll(1)).tolist()


def test_cutmix_pastes_a_box_and_weighs_the_labels_by_its_area(images):
    seen = set()
    for step in range(40):
        top, bottom, left, right, _, own = drawn = draw_mix(CUTMIX, 0, step, SIZE)
        expected = images.numpy().copy()
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        expected[:, :, rows, columns] = np.roll(images.numpy(), 1, 0)[:, :, rows, columns]
        np.testing.assert_array_equal(mixed(images, drawn), expected)
        assert own == pytest.approx((expected == images.numpy()).mean(), abs=1e-6)
        seen.add((bottom - top, right - left))
    assert len(seen) > 20


def test_shares_follow_the_beta_distribution():
    shares = draws(MIXUP)[:, -1]
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.1)  # of Beta(0.4, 0.4)
    boxes = draws(CUTMIX)
    assert (boxes[:, :4] >= 0).all() and (boxes[:, :4] <= SIZE).all() and (boxes[:, 4] == 0).all()
    assert boxes[:, -1].mean() > 0.5  # what lies outside of the image is not pasted


def test_with_both_a_coin_decides_for_each_batch():
    whole = (draws(BOTH)[:, :4] == (0, SIZE, 0, SIZE)).all(1)
    assert 0.45 < whole.mean() < 0.55


def test_what_is_drawn_depends_on_seed_and_step_alone():
    first = draw_mix(BOTH, 1, 2, SIZE)
    np.random.rand(3)
    assert draw_mix(BOTH, 1, 2, SIZE) == first
    assert len({draw_mix(MIXUP, seed, step, SIZE) for seed in range(3) for step in range(3)}) == 9
    assert draw_mix(MIXUP, 0, 0, SIZE)[-1] == pytest.approx(0.020310896519381602, rel=1e-12)  # for ever


def test_a_mixed_loss_of_equal_labels_is_the_plain_one():
    logits, labels = torch.randn(4, 3), torch.ones(4, dtype=torch.int64)
    loss, main = mixed_loss(logits, labels, labels, torch.tensor(draw_mix(CUTMIX, 0, 1, SIZE)), 0.1)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, label_smoothing=0.1).double(), check_dtype=False)
    assert main.equal(labels)
