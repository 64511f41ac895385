"""`augment.augment_sample` for a whole batch in torch, as one gather: on a GPU it compiles into a single kernel."""

import torch

from fasttrain import keyed_torch
from fasttrain.data.augment import draws


def augment_batch(pixels, rows, indices, augment, keys):
    """Augments `pixels[rows]`: uint8 [N, S, S, 3] and int64 [B] in, uint8 [B, S, S, 3] out, on the device of `pixels`.

    `indices` int64 [B] are the samples' positions in the split, which key the draws; `keys` is
    an `augment.DrawKeys`, of tensors where the call is compiled, so that a new epoch compiles nothing.
    """
    size = pixels.shape[1]
    drawn = draws(augment, keys, indices, size, keyed_torch.draw)
    line = torch.arange(size, device=pixels.device)
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
    return gathered * inside[..., None].to(gathered.dtype)
