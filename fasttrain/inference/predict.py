"""`fasttrain predict`: names what a trained network sees in images of any size and format."""

import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fasttrain import runtime as runtimes
from fasttrain.data.decode import decode_photo
from fasttrain.data.mosaic import draw_mosaic
from fasttrain.errors import DataError
from fasttrain.format import count, short
from fasttrain.storage import writing
from fasttrain.train.trained import load_trained

BATCH = 64  # images at a time
SHOWN = 64  # images in a picture
# of the files that count in a folder
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def predict(checkpoint: str | Path, images: Sequence[str | Path], top: int = 5, device: str = "auto") -> list[dict]:
    """Returns the `top` likeliest classes of each image, likeliest first.

    checkpoint: a file, or a run folder for its best one. images: paths; the shorter side of each is resized to the side
    that the network was trained on, and its centre cut out. The list holds
    {"image": path, "top": [{"class": id, "name": readable name, "probability": 0 ... 1}, ...]}.
    Raises DataError for a bad checkpoint and for the first file that is no image.
    """
    runtime = runtimes.Runtime(runtimes.choose_device(device)[0], "fp32", "off", channels_last=True)
    trained = load_trained(checkpoint)
    classifier = trained.classifier(runtime)
    names = [{"class": one, "name": name} for one, name in zip(trained.classes, trained.class_names, strict=True)]
    found = []
    for start in range(0, len(images), BATCH):
        paths = images[start:start + BATCH]
        pixels = np.stack([read_image(path, trained.config.image_size) for path in paths])
        with torch.inference_mode():
            probabilities = classifier(torch.from_numpy(pixels).to(runtime.device)).softmax(1)
        best = probabilities.topk(min(top, len(names)))
        for path, values, classes in zip(paths, best.values.tolist(), best.indices.tolist(), strict=True):
            ranking = [{**names[k], "probability": value} for k, value in zip(classes, values, strict=True)]
            found.append({"image": str(path), "top": ranking})
    return found


def find_images(words: Sequence[str | Path]) -> list[Path]:
    """Returns the image files that words name: files as they are, those in and below folders, those a pattern matches.

    Raises DataError for a folder or a pattern without images.
    """
    found = []
    for word in map(Path, words):
        if word.is_dir():
            images = sorted(path for path in word.rglob("*") if path.suffix.lower() in SUFFIXES)
        elif glob.has_magic(str(word)) and not word.exists():
            images = sorted(map(Path, glob.glob(str(word), recursive=True)))
        else:
            images = [word]
        if not images:
            raise DataError(f"{word}: holds no image" if word.is_dir() else f"{word}: matches no file")
        found += images
    return found


def draw_predictions(found: Sequence[dict], size: int, path: Path) -> None:
    """Draws the first images of what `predict` returned, each above its likeliest class, into a PNG file."""
    shown = found[:SHOWN]
    captions = [f"{short(first['name'], 99)}\n{first['probability']:.0%} · {Path(one['image']).name}"
                for one in shown for first in one["top"][:1]]
    pixels = np.stack([read_image(one["image"], size) for one in shown])
    title = f"{len(shown)} of {len(found)} images" if len(shown) < len(found) else count(len(found), "image")
    with writing(path):
        draw_mosaic(pixels, captions, path, title=f"{title}: the likeliest class of each")


def read_image(path: str | Path, size: int) -> np.ndarray:
    """Returns the image in a file as uint8 [size, size, 3], RGB; DataError where it holds none."""
    try:
        return decode_photo(Path(path).read_bytes(), size)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from None
