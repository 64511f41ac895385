"""Classifier heads: [B, C, H, W] features to [B, num_classes] logits.

A head is a class with two static methods and no state. `build(channels, num_classes)` returns modules by name, which
the network adopts as its own children: the keys are `fc.weight`, not `head.fc.weight`. `forward(net, features)` runs
them. Linear layers keep torch's initialisation, as in torchvision.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GlobalMaxPool2d(nn.Module):
    """[B, C, H, W] -> [B, C, 1, 1], the maximum of each channel.

    Uses `amax`, because `adaptive_max_pool2d` has no deterministic backward pass on a GPU and no inductor kernel.
    `amax` shares the gradient among tied maxima, where the other gives it to one of them. After a ReLU most ties are
    channels that are zero everywhere, and the ReLU stops their gradient in both cases.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.amax((2, 3), keepdim=True)


class OriginHead:
    """ResNet's own: average over space, then one linear layer (arXiv:1512.03385)."""

    @staticmethod
    def build(channels: int, num_classes: int) -> dict[str, nn.Module]:
        return {"avgpool": nn.AdaptiveAvgPool2d((1, 1)), "fc": nn.Linear(channels, num_classes)}

    @staticmethod
    def forward(net: nn.Module, features: Tensor) -> Tensor:
        return net.fc(torch.flatten(net.avgpool(features), 1))


class MaxPoolHead:
    """Maximum over space, then one linear layer. (`maxpool` is the stem's pool, hence the name `maxpool2`.)"""

    @staticmethod
    def build(channels: int, num_classes: int) -> dict[str, nn.Module]:
        return {"maxpool2": GlobalMaxPool2d(), "fc": nn.Linear(channels, num_classes)}

    @staticmethod
    def forward(net: nn.Module, features: Tensor) -> Tensor:
        return net.fc(torch.flatten(net.maxpool2(features), 1))


class DropoutHead:
    """AlexNet's classifier (Krizhevsky et al., 2012): three linear layers, dropout of one half before the first two.

    Its input is the 2x2 feature map that a 64-pixel image leaves; other feature maps are averaged to 2x2.
    """

    @staticmethod
    def build(channels: int, num_classes: int) -> dict[str, nn.Module]:
        layers = (
            nn.Dropout(0.5), nn.Linear(channels * 4, channels), nn.ReLU(inplace=True),
            nn.Dropout(0.5), nn.Linear(channels, channels), nn.ReLU(inplace=True),
            nn.Linear(channels, num_classes),
        )
        return {"classifier": nn.Sequential(*layers)}

    @staticmethod
    def forward(net: nn.Module, features: Tensor) -> Tensor:
        return net.classifier(torch.flatten(average_to_2x2(features), 1))


def average_to_2x2(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 2, 2], equal to `adaptive_avg_pool2d(x, 2)`; returns a 2x2 map as it is.

    Two windows of ceil(n / 2) that start floor(n / 2) apart are the adaptive ones. `avg_pool2d` has a deterministic
    backward pass on a GPU, which the adaptive pool lacks.
    """
    height, width = x.shape[2:]
    if (height, width) == (2, 2):
        return x
    if height == 1 or width == 1:
        x = x.expand(-1, -1, max(height, 2), max(width, 2))
        return average_to_2x2(x)
    return F.avg_pool2d(x, ((height + 1) // 2, (width + 1) // 2), (height // 2, width // 2))
