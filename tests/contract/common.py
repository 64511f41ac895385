"""What the contract's tests share: copies of batches, and what they have to equal."""

import numpy as np

from fasttrain.data.augment import switched_on


def copy(batch):
    """A batch as numpy arrays of its own: (images, labels, indices, valid)."""
    return *(tensor.cpu().numpy().copy() for tensor in batch[:3]), batch.valid


def collect(loader):
    """Copies of an iteration's batches."""
    return [copy(batch) for batch in loader]


def reference(split, indices, seed, epoch, augment):
    """The images that any loader has to deliver, one sample after the other: uint8 [B, S, S, 3]."""
    return augmented([split.pixels[split.rows[i]] for i in indices], indices, seed, epoch, augment)


def augmented(images, indices, seed, epoch, augment):
    """Images of the samples `indices`, each augmented by the definitions: uint8 [B, S, S, 3]."""
    parts = list(switched_on(augment, len(images[0])).values())
    result = []
    for image, index in zip(images, indices, strict=True):
        for part in parts:
            drawn = part.draws(part.keys(seed, epoch), np.array([index]))
            image = part.sample(image, *(int(one[0]) for one in drawn))
        result.append(image)
    return np.stack(result)


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
