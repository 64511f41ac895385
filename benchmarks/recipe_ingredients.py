"""What each ingredient of the recipe `fast` is worth: changes one, keeps seeds, order and images, compares in pairs.

    python benchmarks/recipe_ingredients.py --data /path/to/tiny-imagenet-200 [--seeds 3] [--out DIR] [--dry-run]

resnet18, 10 classes, 2,500 training images, 8 epochs. A call of `fasttrain ablate --vary ... --pairs`, which takes any
further flags; the same command goes on where it stopped.
"""

import sys

from fasttrain.cli.main import main

SETTING = ("--recipe", "fast", "--classes", "10", "--limit-train", "2500", "--epochs", "8", "--out", "runs/ingredients")
INGREDIENTS = (
    "augment.crop_padding=0", "augment.flip=none,random", "label_smoothing=0", "optimizer.nesterov=false",
    "optimizer.decay_norm_and_bias=true", "optimizer.weight_decay=1e-4,2e-3",
    "schedule.name=step schedule.period=1000", "lr_per_256=0.2,0.8", "batch_size=64", "augment.cutout=16",
    "augment.crop_padding=0 augment.rrc_scale=0.35", "ema=0.99", "mix.mixup=0.2", "mix.cutmix=1",
)

if __name__ == "__main__":
    varied = [word for change in INGREDIENTS for word in ("--vary", *change.split())]
    sys.exit(main(["ablate", *varied, "--pairs", *SETTING, *sys.argv[1:]]))
