"""Crops of photos, in turns: stored large, against Pillow in four workers: `python -m benchmarks.photos FOLDER`.

Draws photos of 500 x 375 and 90 to 130 kB into FOLDER once, then prints images/s of both and their ratio.
"""

import io
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from fasttrain import RunConfig
from fasttrain.config import Augment
from fasttrain.data import loaders
from fasttrain.data.augment.photo_crop import draw_boxes
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.pack import open_splits

COUNT, BATCH, SIDE, SCALE, TURNS = 1024, 128, 256, 0.25, 5


def draw_photos(folder: Path) -> None:
    """Draws COUNT JPEG files of two classes, of the bytes that photos of 500 x 375 have."""
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        target = folder / "ab"[number % 2] / f"{number:04}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((500, 375), Image.BICUBIC)
        noisy = np.asarray(coarse) + rng.normal(0, 25, (375, 500, 1))
        photo = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        encoded = io.BytesIO()
        photo.save(encoded, "JPEG", quality=85)
        if not 90_000 <= len(encoded.getvalue()) <= 130_000:
            raise SystemExit(f"{target}: {len(encoded.getvalue()):,} bytes, not 90 to 130 kB")
        target.write_bytes(encoded.getvalue())


class Photos(Dataset):
    """What most people write: a photo opened, cropped and flipped by Pillow."""

    def __init__(self, folder: Path, size: int):
        self.files, self.size = sorted(folder.glob("*/*.jpg")), size

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        photo = Image.open(self.files[index]).convert("RGB")
        y, x, height, width = draw_boxes(0, 0, np.array([index]), np.array([photo.size[::-1]]), SCALE)[0].tolist()
        crop = photo.crop((x, y, x + width, y + height)).resize((self.size, self.size), Image.Resampling.BILINEAR)
        if index % 2:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(crop))


def speed(batches) -> float:
    """Returns images/s of one pass."""
    started = time.perf_counter()
    images = sum(len(getattr(batch, "images", batch)) for batch in batches)
    return images / (time.perf_counter() - started)


def main(folder: Path, size: int) -> None:
    if not folder.exists():
        draw_photos(folder)
    train, _ = open_splits(RunConfig(data=str(folder), val_fraction=0.01, image_size=size, photo_side=SIDE,
                                     augment={"rrc_scale": SCALE, "crop_padding": 0}))
    stored = loaders.build("resident", LoaderSpec(train, BATCH, True, augment=Augment(rrc_scale=SCALE, flip="random")))
    plain = DataLoader(Photos(folder, size), BATCH, shuffle=True, num_workers=4, persistent_workers=True)
    for warm_up in (stored, plain):
        speed(warm_up)
    speeds = [(speed(stored), speed(plain)) for _ in range(TURNS)]
    for name, of in zip(("stored large", "torch (Pillow, 4 workers)"), zip(*speeds, strict=True), strict=True):
        print(f"{name}: {statistics.median(of):,.0f} images/s ({min(of):,.0f} to {max(of):,.0f})")
    ratios = [ours / theirs for ours, theirs in speeds]
    print(f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}); {size} px, shorter side "
          f"{SIDE}: {train.photos.data.nbytes / len(train.photos.shapes) / 1e3:,.0f} kB a photo on disk")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 128)
