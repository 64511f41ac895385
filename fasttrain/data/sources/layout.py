"""Classes and images from a list of file names: the official Tiny-ImageNet layout or an ImageFolder tree.

    wnids.txt, words.txt                          both optional
    train/<class>/.../<image>
    val/images/<image> + val/val_annotations.txt  (official)  or  val/<class>/.../<image>  (ImageFolder)

In folders val/ may have another name, and <class>/.../<image> may lie at the root.
"""

import re
from collections.abc import Callable

from fasttrain.data.sources.base import Item, SourceIndex
from fasttrain.errors import DataError

WNIDS, WORDS, ANNOTATIONS = "wnids.txt", "words.txt", "val/val_annotations.txt"
TEXTS = {WNIDS, WORDS, ANNOTATIONS}
IMAGE_ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
DIGITS = re.compile(r"(\d+)")


def is_wanted(name: str, splits: tuple[str, ...] = ("train/", "val/")) -> bool:
    """Returns whether `read_layout` looks at the file `name`, a path below the data's root."""
    if name.lower().endswith(IMAGE_ENDINGS):
        return name.startswith(splits) and "/." not in f"/{name}"
    return name in TEXTS


def read_layout(names: list[str], load: Callable[[str], bytes], location: str, train: str = "train/",
                val: str | None = "val/") -> SourceIndex:
    """Returns the index of the wanted files `names`; `load` reads one of them; errors start with `location`.

    train, val: what the names of their images start with; None where there are none.
    """
    known = set(names)

    def lines(name):
        return load(name).decode("utf-8", "surrogateescape").splitlines() if name in known else []

    of_train = _in_folders(names, train)
    val_images = [name for name in names if name.startswith("val/images/")] if val == "val/" else []
    if val_images and "images" not in of_train.values():
        of_val = _annotated(val_images, lines(ANNOTATIONS), location)
    else:
        of_val = _in_folders(names, val)
    classes = sorted({line.strip() for line in lines(WNIDS)} - {""}) or sorted(set((of_train or of_val).values()))
    _check_classes(classes, of_train, of_val, location)
    words = {wnid: name.split(",")[0].strip() for wnid, _, name in (line.partition("\t") for line in lines(WORDS))}
    return SourceIndex(
        classes=classes,
        class_names=[printable(words.get(wnid) or wnid) for wnid in classes],
        train=_items(of_train, classes, load),
        val=_items(of_val, classes, load),
    )


def _in_folders(names, split):
    """Returns {image: class} of the images below `split`<class>/, such as train/cat/; {} for None."""
    images = [name for name in names if split is not None and name.startswith(split) and name not in TEXTS]
    below = {name: name.removeprefix(split) for name in images}
    return {name: rest.split("/", 1)[0] for name, rest in below.items() if "/" in rest}


def _annotated(images, lines, location):
    """Returns {image: class} as val_annotations.txt says; every image needs a line and every line an image."""
    if not lines:
        raise DataError(f"{location}: {ANNOTATIONS}, which gives the classes of val/images, is missing or empty")
    missing, found = set(images), {}
    for number, line in enumerate(lines, 1):
        image, _, rest = line.partition("\t")
        image, wnid = "val/images/" + image, rest.split("\t")[0].strip()
        if not wnid:
            raise DataError(f"{location}: {ANNOTATIONS}, line {number}: expected image<TAB>class, got {line[:60]!r}")
        if image not in missing:
            reason = "is named twice" if image in found else "does not exist"
            raise DataError(f"{location}: {ANNOTATIONS}, line {number}: {image} {reason}: restore it or drop the line")
        missing.remove(image)
        found[image] = wnid
    if missing:
        raise DataError(f"{location}: {min(missing)} has no line in {ANNOTATIONS}: add its class or remove the image")
    return found


def _check_classes(classes, train, val, location):
    if not classes or not (train or val):
        raise DataError(f"{location}: no images: expected train/<class>/... and val/ below it")
    known, trained = set(classes), set(train.values())
    for split in (train, val):
        for image, wnid in split.items():
            if wnid not in known:
                raise DataError(f"{location}: {image}: its class {wnid} is not one of the {len(classes)} classes "
                                f"({WNIDS} lists them, else the folders of train)")
    if trained and trained != known:
        raise DataError(f"{location}: class {min(known - trained)} has no training image: "
                        f"add some below train, or remove the class from {WNIDS} and val")


def _items(split, classes, load):
    """Returns Items in canonical order: by label, then natural file number (img_2 before img_10)."""
    label = {wnid: position for position, wnid in enumerate(classes)}
    order = sorted((label[wnid], _natural(image), image) for image, wnid in split.items())
    return [Item(image, position, load) for position, _, image in order]


def printable(text: str) -> str:
    """Returns a file name as valid UTF-8, which it need not be and what is printed must be."""
    return text.encode("utf-8", "backslashreplace").decode()


def _natural(path):
    parts = DIGITS.split(path)
    parts[1::2] = [int(digits) for digits in parts[1::2]]
    return parts
