"""A network of one's own: `fasttrain run --arch examples/own_network.py:small --data synthetic:classes=10`."""

from torch import nn


def small() -> nn.Module:
    """Returns a backbone: [B, 3, H, W] -> [B, 64, H / 8, W / 8]. fasttrain puts the head after it."""
    layers = []
    for channels, width in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def whole(num_classes: int) -> nn.Module:
    """Returns a network with a classifier: [B, num_classes] logits. It takes `--head own`."""
    return nn.Sequential(small(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
