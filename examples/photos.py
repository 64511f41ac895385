"""Draws a folder of photos, one of them cut off, and trains on it: `python examples/photos.py FOLDER`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def draw_photos(folder: Path, classes: int = 3, count: int = 12) -> None:
    """Draws photos of several sizes below `folder`/<colour>; the last one is cut off in its middle."""
    rng = np.random.default_rng(0)
    for name, hue in zip(("red", "green", "blue"), np.eye(3)[:classes], strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            height, width = rng.integers(60, 120, 2)
            pixels = rng.integers(0, 120, (height, width, 3)) + 120 * hue
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.jpg", quality=90)
    broken = folder / name / f"{number}.jpg"
    broken.write_bytes(broken.read_bytes()[:1000])


def main(folder: Path) -> None:
    draw_photos(folder)
    fasttrain = [sys.executable, "-m", "fasttrain"]
    size = ["--data", str(folder), "--image-size", "32"]
    subprocess.run([*fasttrain, "data", "pack", *size, "--skip-corrupt"], check=True)
    subprocess.run([*fasttrain, "run", *size, "--val-fraction", "0.25", "--batch-size", "8", "--epochs", "4", "--out",
                    str(folder.with_name(f"{folder.name}-run"))], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
