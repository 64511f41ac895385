"""Metrics against torchmetrics, and the cases that it does not settle."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix, multiclass_f1_score

from fasttrain.train import metrics


@pytest.mark.parametrize("classes", [2, 5, 10, 200])
def test_equals_torchmetrics(classes):
    generator = torch.Generator().manual_seed(classes)
    logits, labels = torch.randn(500, classes, generator=generator), torch.randint(classes, (500,), generator=generator)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    sums, predicted = torch.zeros(4, dtype=torch.float64), torch.full((501,), -1)
    for part in torch.arange(500).split(64):
        mask = torch.arange(len(part)) < len(part)
        sums += metrics.batch_sums(losses[part], logits[part], labels[part], mask)
        metrics.put_predicted(predicted, logits[part], labels[part], part, mask)
    means = metrics.means(sums.tolist(), "val")

    assert means["val_loss"] == pytest.approx(losses.double().mean().item(), rel=1e-6)
    for k in (1, 5):
        oracle = multiclass_accuracy(logits, labels, classes, average="micro", top_k=min(k, classes))
        assert means[f"val_top{k}"] == pytest.approx(100 * oracle.item())
    confusion = torch.from_numpy(metrics.confusion_matrix(labels.numpy(), predicted[:-1].numpy(), classes))
    assert torch.equal(confusion, multiclass_confusion_matrix(logits, labels, classes))
    oracle = multiclass_f1_score(logits, labels, classes, average="none").mean()
    assert metrics.macro_f1(confusion) == pytest.approx(100 * oracle.item(), rel=1e-5)


def test_padding_counts_nowhere():
    logits, labels = torch.eye(4), torch.arange(4)
    mask = torch.arange(4) < 3
    sums = metrics.batch_sums(torch.ones(4), logits, labels, mask)
    assert sums.tolist() == [3, 3, 3, 3]
    predicted = torch.full((5,), -1)
    metrics.put_predicted(predicted, logits, labels, torch.tensor([3, 0, 1, 1]), mask)
    assert predicted[:-1].tolist() == [1, 2, -1, 0]
    confusion = metrics.confusion_matrix(np.array([1, 2, 0, 3]), predicted[:-1].numpy(), 4)
    assert confusion.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_ties_and_nan_count_against_the_model(value):
    logits, labels = torch.full((3, 10), value), torch.tensor([0, 1, 2])
    assert metrics.batch_sums(torch.tensor(1.0), logits, labels).tolist() == [3, 0, 0, 3]
    predicted = torch.full((4,), -1)
    metrics.put_predicted(predicted, logits, labels, torch.arange(3), torch.ones(3, dtype=torch.bool))
    assert not (predicted[:-1] == labels).any()


def test_macro_f1_of_absent_and_unpredicted_classes_is_zero_by_hand():
    # class 0: p = 1/2, r = 1 -> 2/3; class 1: never predicted -> 0; class 2: absent -> 0
    assert metrics.macro_f1(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]])) == pytest.approx(100 * (2 / 3) / 3)
