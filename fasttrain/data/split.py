"""A split: the images, labels and class names that training or validation sees. A view of a pack: no copy."""

import hashlib
from dataclasses import dataclass

import numpy as np

from fasttrain.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos of any size. data: uint8 [bytes], mapped. shapes: int64 [N, 2], height and width. offsets: int64 [N]."""

    data: np.ndarray
    shapes: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True, eq=False)
class Split:
    """Some rows of a pack's train or val images, labels running from 0 to K-1. Sample i is row `rows[i]` of the pack.

    name: "train" or "val". pixels: uint8 [N, S, S, 3], RGB, NHWC, read-only, every row of the pack (N >= n).
    rows: int64 [n], ascending. labels: int64 [n]. classes, class_names: K ids (wnids) and their readable names.
    image_size: S. mean, std: of the whole pack's train pixels scaled to [0, 1], one float for each channel.
    jpeg, offsets: the encoded images one behind the other, uint8 [bytes]; row r is `jpeg[offsets[r]:offsets[r + 1]]`,
    offsets int64 [N + 1]. Both None unless every image of the pack is a JPEG of S x S pixels.
    fingerprint: equal for equal content, rows and labels, wherever the data lies.
    photos: the rows of the pack as photos stored large, which training cuts its crops from; None: from `pixels`.
    """

    name: str
    pixels: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    class_names: list[str]
    classes: list[str]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    jpeg: np.ndarray | None
    offsets: np.ndarray | None
    fingerprint: str
    photos: Photos | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def facts(self) -> dict[str, list]:
        """What it takes to use a network that was trained on this split: plain lists, for a checkpoint."""
        return {"classes": list(self.classes), "class_names": list(self.class_names), "mean": list(self.mean),
                "std": list(self.std)}


def class_count(classes: int | None, available: int) -> int:
    """Returns how many classes a view has, all for None; ConfigError unless 1 <= classes <= available."""
    if classes is None:
        return available
    if not 1 <= classes <= available:
        raise ConfigError(f"--classes {classes}: the data has {available} classes; choose 1 to {available}")
    return classes


def choose_rows(labels: np.ndarray, classes: int, limit: int | None = None, name: str = "train") -> np.ndarray:
    """Returns the rows of the first `classes` labels, at most `limit` of them: int64, ascending.

    labels: int64 [N] in canonical order (by label, then file number). A limit takes from every class in turn, first by
    file number, so that 25 of 10 classes are 3, 3, 3, 3, 3, 2, 2, 2, 2, 2; a class that runs out leaves its turn to the
    others. Raises ConfigError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit-{name} {limit}: choose at least 1, or leave it out for all images")
    rows = np.flatnonzero(labels < classes).astype(np.int64)
    if limit is None or limit >= len(rows):
        return rows
    chosen = labels[rows]
    turn = np.arange(len(rows)) - np.searchsorted(chosen, chosen)
    return np.sort(rows[np.lexsort((chosen, turn))[:limit]])


def held_out(labels: np.ndarray, paths: list[str], fraction: float) -> np.ndarray:
    """Returns which images validate: bool [N], `fraction` of each class to the nearest, but one at least, not all.

    labels: int64 [N], ascending. paths: the images' names, whose hashes decide: images that come later change nothing
    for those that were there, but for a few at the edge. Raises DataError for a class of one image.
    """
    found = np.zeros(len(labels), bool)
    hashes = [hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest() for path in paths]
    for first, count in zip(*np.unique(labels, return_index=True, return_counts=True)[1:], strict=True):
        if count < 2:
            raise DataError(f"{paths[first]}: the only image of its class: holding some out to validate takes two; "
                            "add one, or remove the class")
        rows = sorted(range(first, first + count), key=hashes.__getitem__)
        found[rows[:min(max(1, round(fraction * count)), count - 1)]] = True
    return found


def view_fingerprint(pack_fingerprint: str, name: str, classes: int, limit: int) -> str:
    """Returns sixteen hex digits that name one view of one pack."""
    text = f"{pack_fingerprint} {name} classes={classes} limit={limit}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
