"""Metrics as sums that stay on the device and are read once an epoch."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Pass:
    """One pass over a split: the metric sums (see `Step.sums`), how many images, seconds in all and for data."""

    sums: list[float]
    images: int
    seconds: float
    wait_seconds: float


def ranks(logits, labels):
    """How many other classes score at least as high as the true one: int64 [B]; 0 is a top-1 hit, below 5 a top-5 hit.

    logits [B, K], labels int64 [B]. Ties and NaN count against the model.
    """
    own = logits.gather(1, labels[:, None])
    return (~(logits < own)).sum(1) - 1


def batch_sums(loss, logits, labels, mask=None):
    """float64 [4]: sums over the batch of loss, top-1 hits, top-5 hits and images.

    loss: the mean over the batch (a scalar) or one value per sample [B]. mask: bool [B], the samples that count.
    """
    rank = ranks(logits, labels)
    per_sample = torch.stack([loss.double().expand(len(labels)), (rank < 1).double(), (rank < 5).double(),
                              torch.ones(len(labels), dtype=torch.float64, device=labels.device)])
    if mask is not None:
        per_sample = per_sample * mask
    return per_sample.sum(1)


def hits(logits, labels, mask):
    """float64 [1]: top-1 hits among the samples of `mask`, bool [B]."""
    return ((ranks(logits, labels) < 1) & mask).sum(dtype=torch.float64)[None]


def put_predicted(predicted, logits, labels, indices, mask):
    """Puts each sample's top class at its place in `predicted`, int64 [images + 1].

    The true class loses ties, as in `ranks`. indices: int64 [B], below `images`. Samples outside `mask` (bool [B])
    repeat another one and go to the last place.
    """
    place = torch.where(mask, indices, len(predicted) - 1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    predicted.scatter_(0, place, torch.where(ranks(logits, labels) < 1, labels, others.argmax(1)))


def confusion_matrix(labels, predicted, classes):
    """Counts, int64 [K, K], rows = truth, from int arrays [images]; what was not predicted (-1) is left out."""
    seen = predicted >= 0
    cells = labels[seen] * classes + predicted[seen]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def means(sums, prefix):
    """Turns the sums, a list, into a dict: loss in nats, top-1 and top-5 in percent.

    A fifth sum, hits with mirror images, gives `<prefix>_top1_tta`.
    """
    loss, top1, top5, count, *mirrored = sums
    found = {"loss": loss / count, "top1": 100 * top1 / count, "top5": 100 * top5 / count}
    if mirrored:
        found["top1_tta"] = 100 * mirrored[0] / count
    return {f"{prefix}_{name}": value for name, value in found.items()}


def macro_f1(confusion):
    """Macro-averaged F1 in percent from a confusion matrix [K, K], rows = truth.

    Per class F = 2pr / (p + r) with p = tp / predicted and r = tp / true; 0 where that is undefined, and the mean is
    over all K classes (the original study's rule; scikit-learn's f1_score(average="macro", zero_division=0)).
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    hits, support, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    return float(100 * np.mean(2 * hits / np.maximum(support + predicted, 1)))


def prediction_table(labels, predicted):
    """A structured array with the int32 fields `label` and `predicted`: each image's class and the one it was given."""
    table = np.empty(len(predicted), [("label", np.int32), ("predicted", np.int32)])
    table["label"], table["predicted"] = labels, predicted
    return table
