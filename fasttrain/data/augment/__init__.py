"""Augmentation of the uint8 images of a training batch: one file for each, applied in the order of the registry.

The order is part of the definition: crop (or resized crop), flip, colour, cutout. Everything is integer work keyed by
(seed, epoch, sample index), so all mirrors (numba, torch, the graphs of other loaders) are equal to the byte.
"""

import abc
from collections.abc import Iterable
from typing import Any

import numpy as np

from fasttrain import keyed
from fasttrain.config import Augment
from fasttrain.registry import AUGMENTATIONS

OFF = Augment()


class Augmentation(abc.ABC):
    """One augmentation: what it draws for a sample, its definition in numpy, and a mirror in numba and in torch.

    settings: the fields of config.Augment that belong to it.
    """

    settings: tuple[str, ...] = ()

    def __init__(self, augment: Augment, image_size: int):
        self.augment, self.image_size = augment, image_size

    @classmethod
    def is_on(cls, augment: Augment) -> bool:
        """Returns whether a config asks for it: by default, whether one of its settings is not the one for "off"."""
        return any(getattr(augment, name) != getattr(OFF, name) for name in cls.settings)

    @abc.abstractmethod
    def keys(self, seed: int, epoch: int) -> tuple[int, ...]:
        """Returns the integers that one epoch's draws are keyed by."""

    @abc.abstractmethod
    def draws(self, keys: tuple[int, ...], indices: Any, draw=keyed.draw) -> tuple:
        """Returns what the samples `indices` (int64 [B]) draw: each int64 [B]. `draw`: keyed's, in numpy or torch."""

    @abc.abstractmethod
    def sample(self, image: np.ndarray, *drawn: int) -> np.ndarray:
        """The definition: returns one image, uint8 [S, S, 3], augmented as `drawn` for it says, as a new array."""

    @abc.abstractmethod
    def in_numba(self, images: np.ndarray, *drawn: np.ndarray) -> None:
        """Augments images in place: uint8 [B, S, S, 3], contiguous; `drawn` as from `draws`."""

    @abc.abstractmethod
    def in_torch(self, images: Any, *drawn: Any) -> Any:
        """Returns augmented images: uint8 [B, S, S, 3]; `drawn` as from `draws`, int32. Works compiled."""


def switched_on(augment: Augment, image_size: int) -> dict[str, Augmentation]:
    """Returns the augmentations that a config asks for by name, in the order in which they are applied."""
    kinds = {name: AUGMENTATIONS.load(name) for name in AUGMENTATIONS.names()}
    return {name: kind(augment, image_size) for name, kind in kinds.items() if kind.is_on(augment)}


def only(augment: Augment, parts: Iterable[Augmentation]) -> Augment:
    """Returns a config that asks for nothing but `parts`, with the settings of `augment`."""
    return Augment(**{name: getattr(augment, name) for part in parts for name in part.settings})
