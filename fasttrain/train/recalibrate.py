"""BatchNorm's statistics for another image size than the one that was trained last.

Small images have other statistics than large ones of the same scenes, and a network that is measured with the wrong
ones loses half of its accuracy (FixRes, arXiv:1906.06423).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from fasttrain.data.batch import Batch
from fasttrain.models.freeze import learning_norms
from fasttrain.train.step import Step


@torch.no_grad()
def recalibrate(step: Step, batches: Iterable[Batch]) -> None:
    """Takes the statistics of the network that is evaluated anew: their mean over training batches at full size."""
    norms = list(learning_norms(step.evaluated))
    kept = [norm.momentum for norm in norms]
    step.evaluated.train()
    for number, batch in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1 / number
        with step.runtime.autocast():
            step.evaluated(step.normalize(batch.images))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        if step.processes.size > 1:
            for statistic in (norm.running_mean, norm.running_var):
                step.processes.sum(statistic)
                statistic /= step.processes.size
