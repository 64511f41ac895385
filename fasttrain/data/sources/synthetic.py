"""Synthetic data: JPEG files in the official layout, drawn once into the cache; the same bytes for the same seed."""

import io
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image

from fasttrain import keyed
from fasttrain.data.progress import progress_bar
from fasttrain.data.sources.base import Source, fingerprint_of
from fasttrain.data.sources.directory import DirectorySource
from fasttrain.data.threads import map_in_order
from fasttrain.errors import ConfigError
from fasttrain.registry import unknown
from fasttrain.storage import CACHE, atomic_folder, cache_dir, locked, make_folder, writing

VERSION = 1  # of the drawings: a new one is drawn and packed anew
BATCH = 8  # images drawn at a time: their planes stay in a core's cache
FIRST_VAL = 1 << 24  # image numbers from here on are validation images
VAL_ORDER = 1002  # stream of the permutation that numbers them
GRAY_SHARE = 0.018  # of the images, as in Tiny-ImageNet
QUALITY = 90
BOUNDS = {"classes": (1, 10_000), "train": (1, 10**6), "val": (0, 10**6), "size": (8, 1024), "seed": (0, 2**32 - 1)}


@dataclass(frozen=True)
class Spec:
    """What is drawn. train, val: images of each class. size: pixels of a side. Raises ConfigError out of BOUNDS."""

    classes: int = 200
    train: int = 50
    val: int = 10
    size: int = 64
    seed: int = 0

    def __post_init__(self):
        for name, value in asdict(self).items():
            low, high = BOUNDS[name]
            if not low <= value <= high:
                raise ConfigError(f"synthetic data: {name}={value}: choose {low} to {high}")

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Reads `synthetic` or `synthetic:classes=20,seed=1`; ConfigError for other settings."""
        values = {}
        for setting in filter(None, text.partition(":")[2].split(",")):
            name, _, value = setting.partition("=")
            if name not in BOUNDS:
                raise ConfigError(unknown("setting of synthetic data", name, BOUNDS))
            if not value.isdecimal():
                raise ConfigError(f"synthetic data: {setting!r}: expected {name}=NUMBER")
            values[name] = int(value)
        return cls(**values)

    def __str__(self):
        return "synthetic:" + ",".join(f"{name}={value}" for name, value in asdict(self).items())


class SyntheticSource(Source):
    """Synthetic data in the user's cache, drawn when it is first indexed."""

    kind = "synthetic"

    def __init__(self, spec: Spec):
        self.spec = spec
        self.location = str(spec)

    @classmethod
    def find(cls, location):
        return cls(Spec.parse(location)) if location.partition(":")[0] == cls.kind else None

    def fingerprint(self):
        return fingerprint_of([(self.location, VERSION, 0)])

    def index(self):
        return self._files.index()

    @cached_property
    def _files(self):
        folder = cache_dir() / "synthetic" / self.fingerprint()
        make_folder(folder.parent)
        with locked(folder.with_suffix(".lock")):
            if not folder.is_dir():
                synthesize(folder, self.spec)
        return DirectorySource(folder)


def synthesize(folder: Path, spec: Spec, progress: bool = False, remedy: str = CACHE) -> None:
    """Draws the images of a Spec into the new `folder`, in the layout of `tiny-imagenet-200/`.

    Leaves nothing behind where that fails. Raises ConfigError if the folder exists, DataError, ending in `remedy`, if
    it cannot be written.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: exists already: name a new folder")
    from fasttrain.data.sources.drawing import look_of  # its tables take a moment

    wnids = [f"n{90_000_000 + label}" for label in range(spec.classes)]
    looks = [look_of(spec.seed, label) for label in range(spec.classes)]
    make_folder(folder.parent, remedy)
    with writing(folder, remedy), atomic_folder(folder, remedy) as temporary, progress_bar(progress) as bar:
        task = bar.add_task("drawing", total=spec.classes)
        (temporary / "val" / "images").mkdir(parents=True)
        draw_class = partial(_draw_class, temporary, spec, wnids, looks)
        annotations = []
        for lines in map_in_order(draw_class, range(spec.classes)):
            annotations += lines
            bar.advance(task)
        _write_lines(temporary / "val" / "val_annotations.txt", [line for _, line in sorted(annotations)])
        _write_lines(temporary / "words.txt", [f"{wnid}\t{look.name}" for wnid, look in zip(wnids, looks, strict=True)])
        # As in the real set, wnids.txt is in no order: labels follow the sorted ids.
        _write_lines(temporary / "wnids.txt", [wnids[i] for i in keyed.permutation(spec.seed, VAL_ORDER, len(wnids))])


def _draw_class(root, spec, wnids, looks, label):
    """Writes the images of one class; returns (number, line of val_annotations.txt) for each validation image."""
    wnid = wnids[label]
    folder = root / "train" / wnid / "images"
    folder.mkdir(parents=True)
    boxes = []
    for image, jpeg, box in _draw_images(spec, label, looks[label], range(spec.train)):
        name = f"{wnid}_{image}.JPEG"
        (folder / name).write_bytes(jpeg)
        boxes.append(f"{name}\t{box}")
    _write_lines(folder.parent / f"{wnid}_boxes.txt", boxes)
    order = keyed.permutation(spec.seed, VAL_ORDER, spec.classes * spec.val)
    annotations = []
    for image, jpeg, box in _draw_images(spec, label, looks[label], range(FIRST_VAL, FIRST_VAL + spec.val)):
        number = order[label * spec.val + image - FIRST_VAL]
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(jpeg)
        annotations.append((number, f"val_{number}.JPEG\t{wnid}\t{box}"))
    return annotations


def _draw_images(spec, label, look, images):
    """Yields (image number, JPEG bytes, bounding box as text) for each of the numbers `images`."""
    from fasttrain.data.sources.drawing import draw

    for start in range(0, len(images), BATCH):
        batch = np.array(images[start:start + BATCH])
        gray = keyed.mix(batch ^ keyed.key(spec.seed, VAL_ORDER, label)) < GRAY_SHARE * 2**32
        pixels, masks = draw(spec.seed, label, look, batch, spec.size)
        for number, picture, is_gray, mask in zip(batch, pixels, gray, masks, strict=True):
            yield int(number), _encode(picture, is_gray), _box(mask)


def _encode(pixels, gray):
    """Returns JPEG bytes, by Pillow whatever else is installed: encoders differ in the bytes that they write."""
    if gray:
        red, green, blue = (pixels[..., channel].astype(np.uint16) for channel in range(3))
        pixels = ((77 * red + 150 * green + 29 * blue) >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _box(mask):
    """Returns the first and last column and row that a shape covers: "x0 y0 x1 y1", separated by tabs."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    corners = (columns[0], rows[0], columns[-1], rows[-1]) if len(rows) else (0, 0, len(mask) - 1, len(mask) - 1)
    return "\t".join(map(str, corners))


def _write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
