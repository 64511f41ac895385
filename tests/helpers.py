"""Made-up data for tests."""

import functools
import io

import numpy as np
from PIL import Image

from fasttrain import keyed
from fasttrain.data.decode import decode_into
from fasttrain.data.split import Split


@functools.cache
def make_jpegs(count, size):
    """`count` noise images as JPEG files, every third gray, and their pixels: (list of bytes, uint8 [N, S, S, 3])."""
    noise = keyed.mix(np.arange(count * size * size * 3, dtype=np.uint64)).astype(np.uint8)
    encoded = [jpeg(image[..., 0] if i % 3 == 1 else image, subsampling=("4:4:4", "4:2:0")[i % 2])
               for i, image in enumerate(noise.reshape(count, size, size, 3))]
    pixels = np.empty((count, size, size, 3), np.uint8)
    for data, out in zip(encoded, pixels, strict=True):
        assert decode_into(data, out)
    return encoded, pixels


def jpeg(pixels, **options):
    """Pixels as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def make_split(count, size=16, classes=3, name="train"):
    """A Split of `count` noise images in memory; its rows are not the identity, so that mixing them up shows."""
    encoded, pixels = make_jpegs(count + 5, size)
    return Split(name=name, pixels=pixels, rows=np.arange(count) + 3,
                 labels=np.arange(count) % classes, class_names=[f"class {k}" for k in range(classes)],
                 classes=[f"n{k:08d}" for k in range(classes)], image_size=size, mean=(0.5, 0.4, 0.3),
                 std=(0.2, 0.25, 0.3), jpeg=np.frombuffer(b"".join(encoded), np.uint8),
                 offsets=np.cumsum([0, *map(len, encoded)]), fingerprint=f"made-up-{count}-{size}-{classes}")
