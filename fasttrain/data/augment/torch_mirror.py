"""The augmentations for a whole batch in torch: on a GPU the crops and flips of a batch compile into a single kernel.

What is drawn comes in as tensors (`draws_on`, `keys_on`): a new epoch then compiles nothing.
"""

import torch

from fasttrain.data.augment import DrawKeys, Draws, draws
from fasttrain.data.augment.resized_crop import crop_boxes, taps
from fasttrain.keyed import torch_mirror
from fasttrain.storage import use_compile_cache


def keys_on(device, keys):
    """The integers of an `augment.DrawKeys` as scalars on `device`."""
    return DrawKeys(*torch.tensor(keys, device=device).unbind())


def draws_on(augment, keys, indices, image_size):
    """`augment.draws` of the samples `indices` (int64 [n]), int32 on their device: drawn inside of `augment_batch` the
    compiler would draw anew for every byte, and in 64 bits."""
    return Draws(*(drawn.int() for drawn in draws(augment, keys, indices, image_size, torch_mirror.draw)))


def augment_batch(pixels, rows, drawn, augment):
    """Augments `pixels[rows]`: uint8 [N, S, S, 3] and int64 [B] in, uint8 [B, S, S, 3] out, on the device of `pixels`.

    drawn: the `Draws` of the B samples, int32.
    """
    size = pixels.shape[1]
    line = torch.arange(size, device=pixels.device, dtype=torch.int32)
    column = torch.where(drawn.flip[:, None] == 1, size - 1 - line, line)
    y = line + drawn.crop_y[:, None]
    x = column + drawn.crop_x[:, None]
    inside = ((y >= 0) & (y < size))[:, :, None] & ((x >= 0) & (x < size))[:, None, :]
    if augment.cutout:
        cut_y = (line >= drawn.cutout_y[:, None]) & (line < drawn.cutout_y[:, None] + augment.cutout)
        cut_x = (line >= drawn.cutout_x[:, None]) & (line < drawn.cutout_x[:, None] + augment.cutout)
        inside = inside & ~(cut_y[:, :, None] & cut_x[:, None, :])
    y, x = y.clamp(0, size - 1), x.clamp(0, size - 1)
    gathered = pixels[rows[:, None, None], y[:, :, None], x[:, None, :]]
    return torch.where(inside[..., None], gathered, 0)


def resized_crop_batch(images, indices, sizes, augment, keys):
    """`resized_crop.resized_crop_sample`, then flip and cutout: uint8 [B, S, S, 3] in and out.

    indices: int64 [B], positions in the split. keys: an `augment.DrawKeys`; of tensors (`keys_on`) where compiled.
    """
    size, unit = images.shape[1], 2 * images.shape[1]
    place = torch.arange(len(images), device=images.device)
    line = torch.arange(size, device=images.device)
    y, x, height, width = (side[:, None] for side in crop_boxes(keys, sizes, indices, size, torch_mirror.draw))
    top, bottom, down = taps(height, line)
    left, right, across = taps(width, line)
    down, across = down[:, :, None, None].int(), across[:, None, :, None].int()

    def corner(row, column):
        return images[place[:, None, None], (y + row)[:, :, None], (x + column)[:, None, :]].int()

    above = corner(top, left) * (unit - across) + corner(top, right) * across
    below = corner(bottom, left) * (unit - across) + corner(bottom, right) * across
    exact = above * (unit - down) + below * down
    resized = ((exact + unit**2 // 2) // unit**2).to(torch.uint8)
    return augment_batch(resized, place, draws_on(augment, keys, indices, size), augment)


def compiled(function):
    """`function` as one fused kernel; eager where this machine cannot compile (slower, equal)."""
    use_compile_cache()
    chosen = torch.compile(function, dynamic=False)

    def call(*args):
        nonlocal chosen
        try:
            return chosen(*args)
        except Exception:  # inductor fails in as many ways as there are toolchains
            if chosen is function:
                raise
            chosen = function
            return chosen(*args)

    return call
