"""Crop, flip and cutout of a whole batch in torch: on a GPU one kernel gathers, crops, flips and cuts."""

import torch

from fasttrain.config import Augment
from fasttrain.data.augment.fused import Draws


def gather_batch(pixels: torch.Tensor, rows: torch.Tensor, drawn: Draws, augment: Augment) -> torch.Tensor:
    """Augments `pixels[rows]`: uint8 [N, S, S, 3] and int64 [B] in, uint8 [B, S, S, 3] out, on the device of `pixels`.

    drawn: of the B samples, int32. Draws come in ready-made: the compiler would draw anew for every byte, in 64 bits.
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
