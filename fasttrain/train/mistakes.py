"""The validation images that a network is surest about, and wrong."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fasttrain.data.split import Split
from fasttrain.runtime import Runtime
from fasttrain.train.trained import load_trained

SHOWN = 32
BATCH = 256  # images at a time


class Mistakes(NamedTuple):
    """The surest first. images: uint8 [n, S, S, 3]. labels, predicted: int [n]. sureness: probabilities, [n]."""

    images: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    sureness: np.ndarray


def find_mistakes(run: Path, split: Split, predicted: np.ndarray, runtime: Runtime) -> Mistakes | None:
    """Returns the worst mistakes of the best weights in a run folder, among the images of `split` that the last
    evaluation took for something else too; None without any.

    predicted: what that evaluation said, int [n]. Raises DataError where no weights load.
    """
    wrong = np.flatnonzero(predicted != split.labels)
    if not len(wrong):
        return None
    classifier = load_trained(run).classifier(runtime)
    found = []
    with torch.inference_mode():
        for chosen in np.array_split(wrong, -(-len(wrong) // BATCH)):
            images = torch.from_numpy(split.pixels[split.rows[chosen]]).to(runtime.device)
            found.append(torch.stack(classifier(images).softmax(1).max(1)).double().cpu().numpy())
    sureness, taken = np.concatenate(found, axis=1)
    order = np.argsort(-sureness, kind="stable")
    order = order[taken[order] != split.labels[wrong[order]]][:SHOWN]
    if not len(order):
        return None
    chosen = wrong[order]
    return Mistakes(split.pixels[split.rows[chosen]], split.labels[chosen], taken[order].astype(int), sureness[order])
