"""ResNet-18 and ResNet-50 with torchvision's module names, order and shapes, so that its checkpoints load unchanged.

Sources: He et al., arXiv:1512.03385, with the stride of a Bottleneck on its 3x3 convolution ("v1.5"), as in
torchvision; initialisation: He et al., arXiv:1502.01852, with fan-out.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from fasttrain.errors import ConfigError
from fasttrain.registry import unknown

STEMS = ("standard", "small")


def conv(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)


def shortcut(channels: int, width: int, stride: int) -> nn.Module | None:
    """Returns the 1x1 projection beside a block that changes the shape; None, the identity, beside others."""
    if stride == 1 and channels == width:
        return None
    return nn.Sequential(conv(channels, width, 1, stride), nn.BatchNorm2d(width))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, channels, H, W] -> [B, width, H / stride, W / stride]."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = conv(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut: [B, channels, H, W] -> [B, 4 * width, H / stride, W / stride]."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = conv(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


def stage(block: type[nn.Module], channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """Returns `depth` blocks in a row, of which the first changes the shape."""
    rest = [block(width * block.expansion, width) for _ in range(depth - 1)]
    return nn.Sequential(block(channels, width, stride), *rest)


class ResNet(nn.Module):
    """[B, 3, H, W] images to [B, num_classes] logits.

    head: a class of `heads`; its modules become children of the network itself, which keeps torchvision's keys.
    stem: "standard" (7x7 stride 2, then 3x3 max pool stride 2) or "small" (3x3 stride 1, no pool). The backbone draws
    its weights before the head does: networks of one seed that differ only in the head start from the same backbone.
    """

    def __init__(self, block: type[nn.Module], depths: Sequence[int], head: type, num_classes: int,
                 stem: str = "standard"):
        super().__init__()
        if stem not in STEMS:
            raise ConfigError(unknown("stem", stem, STEMS))
        standard = stem == "standard"
        self.conv1 = conv(3, 64, 7, stride=2) if standard else conv(3, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if standard else None
        self.layer1 = stage(block, 64, 64, depths[0], stride=1)
        self.layer2 = stage(block, 64 * block.expansion, 128, depths[1], stride=2)
        self.layer3 = stage(block, 128 * block.expansion, 256, depths[2], stride=2)
        self.layer4 = stage(block, 256 * block.expansion, 512, depths[3], stride=2)
        for module in self.modules():  # batch norms start at 1 and 0
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.head = head
        for name, module in head.build(512 * block.expansion, num_classes).items():
            self.add_module(name, module)

    def features(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 512 * expansion, H / 32, W / 32], rounded up (H / 8 with the small stem)."""
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))

    def stem(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 64, H / 4, W / 4], rounded up (H with the small stem)."""
        x = self.relu(self.bn1(self.conv1(x)))
        return x if self.maxpool is None else self.maxpool(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head.forward(self, self.features(x))


def resnet18(head: type, num_classes: int, stem: str = "standard") -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2), head, num_classes, stem)


def resnet50(head: type, num_classes: int, stem: str = "standard") -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), head, num_classes, stem)
