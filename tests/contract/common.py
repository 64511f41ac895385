"""What the contract's tests share: copies of batches, and what they have to equal."""

import numpy as np

from fasttrain.data.augment import augment_sample, draw_keys, draws
from fasttrain.data.augment.resized_crop import crop_boxes, crop_sizes, resized_crop_sample


def copy(batch):
    """A batch as numpy arrays of its own: (images, labels, indices, valid)."""
    return *(tensor.cpu().numpy().copy() for tensor in batch[:3]), batch.valid


def collect(loader):
    """Copies of an iteration's batches."""
    return [copy(batch) for batch in loader]


def reference(split, indices, seed, epoch, augment):
    """The images that any loader has to deliver, one sample after the other: uint8 [B, S, S, 3]."""
    keys, size = draw_keys(augment, seed, epoch), split.image_size
    images = [split.pixels[split.rows[i]] for i in indices]
    if augment.rrc_scale:
        boxes = zip(*crop_boxes(keys, crop_sizes(augment.rrc_scale, size), indices, size), strict=True)
        images = [resized_crop_sample(image, box) for image, box in zip(images, boxes, strict=True)]
    drawn = zip(*draws(augment, keys, indices, size), strict=True)
    return np.stack([augment_sample(image, one, augment) for image, one in zip(images, drawn, strict=True)])


def assert_images(images, expected, tolerance):
    """Equal byte for byte, or within `tolerance` gray levels."""
    assert images.dtype == np.uint8 and images.shape == expected.shape
    assert np.abs(images.astype(int) - expected).max(initial=0) <= tolerance


def assert_batches(batches, expected):
    """Two iterations of one loader delivered the same."""
    assert len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        for x, y in zip(one, other, strict=True):
            np.testing.assert_array_equal(x, y)
