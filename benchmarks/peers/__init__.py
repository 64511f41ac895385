"""Contenders as others write them, from the public interfaces of PyTorch and Pillow alone.

`fasttrain bench e2e --peers` races TRAINERS against fasttrain: same network and first weights, images, recipe, batch
size and augmentation, an evaluation after each epoch. `fasttrain bench step --peers` runs NETWORKS in fasttrain's step.
"""

from pathlib import Path

from PIL import Image

from fasttrain.config import RunConfig
from fasttrain.data.split import Split
from fasttrain.errors import ConfigError

TRAINERS = {
    "original's way": "benchmarks.peers.trainers:Original",
    "mainstream": "benchmarks.peers.trainers:Mainstream",
}
# package that may be missing -> its ResNets
NETWORKS = {"torchvision": "benchmarks.peers.networks:Torchvision", "timm": "benchmarks.peers.networks:Timm"}


def share(config: RunConfig, train: Split, val: Split, folder: str) -> dict:
    """Writes the images of two Splits into `folder`; returns what the TRAINERS need beside a RunConfig, as keywords.

    Raises ConfigError for augmentation that they do not have.
    """
    for name in ("cutout", "rrc_scale", "brightness", "contrast"):
        if getattr(config.augment, name):
            raise ConfigError(f"--peers: they pad, crop and flip; set augment.{name}=0")
    for split in (train, val):
        write_images(split, Path(folder) / split.name)
    return {"folder": str(folder), "classes": train.num_classes, "mean": train.mean, "std": train.std}


def write_images(split: Split, folder: Path) -> None:
    """Writes a Split as FOLDER/<label>/<row>: its JPEG files as they are, or PNG where it has none of this size."""
    for label in range(split.num_classes):
        (folder / f"{label:05}").mkdir(parents=True)
    for row, label in zip(split.rows, split.labels, strict=True):
        file = folder / f"{label:05}" / f"{row:07}"
        if split.jpeg is None:
            Image.fromarray(split.pixels[row]).save(file.with_suffix(".png"))
        else:
            file.with_suffix(".jpeg").write_bytes(split.jpeg[split.offsets[row]:split.offsets[row + 1]])
