"""Small data sets on disk for tests, in the shapes that users have them."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from fasttrain import keyed
from fasttrain.data.sources.synthetic import Spec, synthesize

ROOT = "tiny-imagenet-200"


def official(folder, classes=3, train=4, val=2, size=16):
    """`folder`/tiny-imagenet-200 in the official layout; returns it."""
    root = Path(folder) / ROOT
    synthesize(root, Spec(classes=classes, train=train, val=val, size=size))
    return root


def image(number=0, size=(16, 16), mode="RGB"):
    """A made-up picture of width x height."""
    noise = keyed.mix(np.arange(size[0] * size[1] * 3) + number * 7919).astype(np.uint8)
    return Image.fromarray(noise.reshape(size[1], size[0], 3)).convert(mode)


def encoded(picture, kind="JPEG", **options):
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def image_folder(root, names, size=(16, 16)):
    """An ImageFolder tree of the files `names`, such as "train/cat/1.png"; returns its root."""
    for number, name in enumerate(names):
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image(number, size).save(path)
    return Path(root)


def files_below(root):
    """Every file below `root`, sorted."""
    return sorted(path for path in Path(root).rglob("*") if path.is_file())


def make_zip(path, root, prefix=ROOT):
    """A zip of the tree `root`, its names below `prefix`; returns its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files_below(root):
            archive.write(file, f"{prefix}/{file.relative_to(root)}")
    return path


def make_tar(path, root, files=None, prefix=ROOT):
    """A .tar.xz of the tree `root`, or of some files of it; returns its path."""
    with tarfile.open(path, "w:xz") as archive:
        for file in files or files_below(root):
            archive.add(file, f"{prefix}/{file.relative_to(root)}")
    return path
