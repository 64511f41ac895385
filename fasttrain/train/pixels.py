"""From the loader's bytes to the network's input: shrink, then normalise."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from fasttrain.runtime import Runtime


def shrink(images: torch.Tensor, size: int) -> torch.Tensor:
    """Resamples uint8 [B, S, S, 3] to uint8 [B, size, size, 3]: bilinear with antialiasing, as Pillow and torch do.

    A CPU resamples bytes, a GPU float32 and rounds: the two differ by one gray level at most.
    """
    if images.shape[1] == size:
        return images
    x = images.permute(0, 3, 1, 2)
    if not images.is_cpu:
        x = x.float()
    x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
    if x.is_floating_point():
        x = x.round().clamp(0, 255).to(torch.uint8)
    return x.permute(0, 2, 3, 1)


class Normalizer:
    """Maps uint8 [B, S, S, 3] to [B, 3, S, S] in the runtime's dtype: (x / 255 - mean) / std, as one multiply-add."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], runtime: Runtime):
        mean, std = (torch.tensor(v, dtype=torch.float32, device=runtime.device).view(1, 3, 1, 1) for v in (mean, std))
        self.scale, self.shift = 1 / (255 * std), -mean / std
        self.runtime = runtime

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        # the permuted view of NHWC bytes is the channels-last layout already: nothing moves
        x = images.permute(0, 3, 1, 2).to(torch.float32)
        x = torch.addcmul(self.shift, x, self.scale).to(self.runtime.dtype)
        return x.contiguous(memory_format=self.runtime.memory_format)
