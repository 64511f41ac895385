"""What loaders draw that crop, flip and cut out in one pass of their own."""

from typing import Any, NamedTuple

from fasttrain import keyed
from fasttrain.config import Augment
from fasttrain.data.augment.crop import Crop
from fasttrain.data.augment.cutout import Cutout
from fasttrain.data.augment.flip import Flip

FUSED = ("crop", "flip", "cutout")


class Draws(NamedTuple):
    """What the samples of a batch draw, each int64 [B]; see `Crop`, `Flip` and `Cutout`."""

    crop_y: Any
    crop_x: Any
    flip: Any
    cutout_y: Any
    cutout_x: Any


def fused_keys(augment: Augment, seed: int, epoch: int) -> tuple[int, ...]:
    """Returns what the draws of one epoch are keyed by: two integers each of crop, flip and cutout."""
    return tuple(key for kind in (Crop, Flip, Cutout) for key in kind(augment, 0).keys(seed, epoch))


def fused_draws(augment: Augment, keys: tuple[int, ...], indices: Any, image_size: int, draw=keyed.draw) -> Draws:
    """Returns the draws of the samples `indices` (int64 [B]) with the `fused_keys` of an epoch."""
    kinds = zip((Crop, Flip, Cutout), (keys[:2], keys[2:4], keys[4:]), strict=True)
    return Draws(*(drawn for kind, own in kinds for drawn in kind(augment, image_size).draws(own, indices, draw)))
