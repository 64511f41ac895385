"""Geometric augmentation: the definition, in numpy, one sample at a time and easy to check by eye.

Everything is integer work on uint8 and every number is keyed by (seed, epoch, sample index), so all mirrors (numba,
torch, the graphs of other loaders) are bit-equal to this one. Random resized crop is in `resized_crop.py`.
"""

from typing import NamedTuple

import numpy as np

from fasttrain import keyed


class Draws(NamedTuple):
    """What one batch draws: each int64 [B].

    crop_y, crop_x: where the crop starts, in pixels, relative to the image (-padding .. padding). flip: 0 or 1.
    cutout_y, cutout_x: top left corner of the square of zeros in the crop; may lie outside of it.
    """

    crop_y: np.ndarray
    crop_x: np.ndarray
    flip: np.ndarray
    cutout_y: np.ndarray
    cutout_x: np.ndarray


class DrawKeys(NamedTuple):
    """What one epoch's draws are keyed by: integers, or a torch mirror's scalars of the same values."""

    crop_y: int
    crop_x: int
    flip: int
    flip_offset: int
    cutout_y: int
    cutout_x: int
    crop_size: int


def draw_keys(augment, seed, epoch):
    """The keys of one epoch. Alternating flip keeps its key over the epochs and adds the epoch's parity
    (K. Jordan, "94% on CIFAR-10 in 3.29 seconds", arXiv:2404.00498)."""
    alternating = augment.flip == "alternating"
    return DrawKeys(
        crop_y=keyed.key(seed, keyed.CROP_Y, epoch),
        crop_x=keyed.key(seed, keyed.CROP_X, epoch),
        flip=keyed.key(seed, keyed.FLIP, 0 if alternating else epoch),
        flip_offset=epoch % 2 if alternating else 0,
        cutout_y=keyed.key(seed, keyed.CUTOUT_Y, epoch),
        cutout_x=keyed.key(seed, keyed.CUTOUT_X, epoch),
        crop_size=keyed.key(seed, keyed.CROP_SIZE, epoch),
    )


def draws(augment, keys, indices, image_size, draw=keyed.draw):
    """Draws for the samples `indices` (int64 [B]) in the epoch of `keys`; `draw` is the mirror (numpy or torch)."""
    zeros = indices * 0
    span = 2 * augment.crop_padding + 1
    return Draws(
        crop_y=draw(keys.crop_y, indices, span) - augment.crop_padding,
        crop_x=draw(keys.crop_x, indices, span) - augment.crop_padding,
        flip=zeros if augment.flip == "none" else (draw(keys.flip, indices, 2) + keys.flip_offset) % 2,
        cutout_y=draw(keys.cutout_y, indices, image_size) - augment.cutout // 2,
        cutout_x=draw(keys.cutout_x, indices, image_size) - augment.cutout // 2,
    )


def augment_sample(image, drawn, augment):
    """The reference: crops one uint8 image [S, S, 3] out of its zero-padded self, flips it, cuts a square out.

    `drawn` is the sample's (crop_y, crop_x, flip, cutout_y, cutout_x). Returns a new uint8 [S, S, 3].
    """
    size, pad = len(image), augment.crop_padding
    y, x, flip, cutout_y, cutout_x = (int(v) for v in drawn)
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    result = padded[pad + y:pad + y + size, pad + x:pad + x + size].copy()
    if flip:
        result = result[:, ::-1].copy()
    if augment.cutout:
        top, left = max(cutout_y, 0), max(cutout_x, 0)
        result[top:cutout_y + augment.cutout, left:cutout_x + augment.cutout] = 0
    return result
