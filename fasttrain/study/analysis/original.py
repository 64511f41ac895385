"""The numbers of the 2022 study that asked these questions first, read from its own logs: one seed per variant."""

from collections.abc import Sequence

SOURCE = ("the original study's own logs: final epoch of one run per variant, validation images of all 200 classes, "
          "of unequal length; its learning rate drops after epoch 30")

# (arch, head): the keys of `measures.METRICS` where the logs tell them, and `epochs`
RESULTS = {
    ("resnet18", "origin"): {"epochs": 80, "val_top1": 34.87, "best_val_top1": 35.09, "val_top5": 59.04,
                             "val_macro_f1": 34.32, "val_loss_min": 3.00, "val_loss_min_epoch": 4},
    ("resnet18", "maxpool"): {"epochs": 80, "val_top1": 31.28, "best_val_top1": 31.46, "val_top5": 56.32,
                              "val_macro_f1": 30.76, "val_loss_min": 3.24, "val_loss_min_epoch": 9},
    ("resnet18", "dropout"): {"epochs": 80, "val_top1": 30.85, "best_val_top1": 32.09, "val_top5": 53.19,
                              "val_macro_f1": 31.48, "val_loss_min": 3.18, "val_loss_min_epoch": 11},
    ("resnet50", "origin"): {"epochs": 37, "val_top1": 32.07, "val_top5": 56.20, "val_macro_f1": 31.54},
    ("resnet50", "maxpool"): {"epochs": 30, "val_top1": 24.80, "best_val_top1": 26.38, "val_top5": 48.03,
                              "val_macro_f1": 24.70},
    ("resnet50", "dropout"): {"epochs": 45, "val_top1": 28.53, "best_val_top1": 31.95, "val_top5": 51.69,
                              "val_macro_f1": 29.21},
}

CLASSES = 200
SOME = {"goldfish", "bullfrog", "espresso"}  # among the names of Tiny-ImageNet's classes


def same_classes(names: Sequence[str]) -> bool:
    """Returns whether class names are those of the whole Tiny-ImageNet, which the original was trained on."""
    return len(names) == CLASSES and {name.split(",")[0] for name in names} >= SOME
