"""The sections of a RunConfig that have one form: how images are augmented, and how they are mixed."""

from dataclasses import dataclass

from fasttrain.checks import Checked, choice, integer, number, setting
from fasttrain.errors import ConfigError


@dataclass(frozen=True)
class Augment(Checked):
    """Augmentation of the uint8 images of a training batch; registry.AUGMENTATIONS has the order."""

    prefix = "augment."
    crop_padding: int = setting(integer(0, 64), 0, "pixels of zeros around the image before a random crop of its size")
    flip: str = setting(choice(("none", "random", "alternating")), "none",
                        "left-right: at random, or at random in the first epoch and in turn afterwards")
    cutout: int = setting(integer(0, 512), 0, "side of a square of zeros at a random place, in pixels; 0 is off")
    rrc_scale: float = setting(number(0, 1), 0.0, "random resized crop: least share of the image's area; 0 is off")
    brightness: float = setting(number(0, 1), 0.0, "largest share by which an image gets brighter or darker; 0 is off")
    contrast: float = setting(number(0, 1), 0.0, "largest share by which contrast grows or shrinks; 0 is off")

    def __post_init__(self):
        super().__post_init__()
        if self.rrc_scale and self.crop_padding:
            raise ConfigError("augment.rrc_scale: one kind of crop excludes the other: set augment.crop_padding=0")


@dataclass(frozen=True)
class Mix(Checked):
    """Images of a training batch mixed with each other, and their labels in proportion."""

    prefix = "mix."
    mixup: float = setting(number(0, 100), 0.0, "whole images; alpha of Beta(alpha, alpha), the shares; 0 is off")
    cutmix: float = setting(number(0, 100), 0.0, "a box of one in the other; alpha as for mixup; 0 is off")

    def __bool__(self):
        return self.mixup > 0 or self.cutmix > 0
