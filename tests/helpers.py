"""Made-up data for tests."""

import numpy as np

from fasttrain import keyed
from fasttrain.data.split import Split


def make_split(count, size=8, classes=3, name="train"):
    """A Split of `count` noise images in memory; its rows are not the identity, so that mixing them up shows."""
    total = count + 5
    pixels = keyed.mix(np.arange(total * size * size * 3, dtype=np.uint64)).astype(np.uint8)
    return Split(name=name, pixels=pixels.reshape(total, size, size, 3), rows=np.arange(count) + 3,
                 labels=np.arange(count) % classes, class_names=[f"class {k}" for k in range(classes)],
                 classes=[f"n{k:08d}" for k in range(classes)], image_size=size, mean=(0.5, 0.4, 0.3),
                 std=(0.2, 0.25, 0.3), jpeg=None, offsets=None, fingerprint=f"made-up-{count}")
