"""`fasttrain predict`: names what a trained network sees in images of any size and format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fasttrain import runtime as runtimes
from fasttrain.data.decode import decode_photo
from fasttrain.errors import DataError
from fasttrain.inference.trained import load_trained

BATCH = 64  # images at a time


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


def read_image(path: str | Path, size: int) -> np.ndarray:
    """Returns the image in a file as uint8 [size, size, 3], RGB; DataError where it holds none."""
    try:
        return decode_photo(Path(path).read_bytes(), size)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from None
