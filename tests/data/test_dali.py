"""What is DALI's own: its graph for a GPU, which is only constructed here, its errors, and one iteration at a time."""

import dataclasses
import os
import re
import sys

import numpy as np
import pytest
import torch

from fasttrain.config import Augment
from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.loaders.dali import DaliLoader, Feed, graph
from fasttrain.errors import ConfigError, DataError
from tests.helpers import make_split

AUGMENT = Augment(crop_padding=2, flip="random", cutout=3)
OPERATOR = re.compile(rb"(decoders__Image|Reinterpret|Slice|Flip|Erase)\x12.*?device.*?(mixed|gpu|cpu)", re.DOTALL)


@pytest.fixture
def dali():
    """Skips where DALI is missing, unless FASTTRAIN_REQUIRE names it."""
    reason = loaders.missing("dali")
    if reason and "dali" not in os.environ.get("FASTTRAIN_REQUIRE", "").split(","):
        pytest.skip(f"DALI: {reason}")


def damage(split, index, data):
    """The split with other bytes in the place of its image `index`."""
    encoded = [split.jpeg[a:b] for a, b in zip(split.offsets, split.offsets[1:], strict=False)]
    encoded[split.rows[index]] = np.frombuffer(data, np.uint8)
    return dataclasses.replace(split, jpeg=np.concatenate(encoded), offsets=np.cumsum([0, *map(len, encoded)]))


def operators(gpu, augment):
    """(operator, device) of a serialized graph."""
    pipeline = graph(Feed(), 16, augment, gpu, batch_size=4, num_threads=1, device_id=None)
    return [(name.decode(), device.decode()) for name, device in OPERATOR.findall(pipeline.serialize())]


def test_data_that_is_not_all_jpeg_is_refused():
    split = dataclasses.replace(make_split(4), jpeg=None, offsets=None)
    with pytest.raises(ConfigError, match="not all images .* use --loader resident"):
        DaliLoader(LoaderSpec(split, 2, True))


def test_without_dali_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(ConfigError, match=r"cannot import DALI .*-m pip install nvidia-dali-cuda120"):
        DaliLoader(LoaderSpec(make_split(4), 2, True))


@pytest.mark.parametrize("gpu, decoder, device", [(True, "mixed", "gpu"), (False, "cpu", "cpu")])
def test_the_graph_stays_on_its_device(dali, gpu, decoder, device):
    crop = [("Reinterpret", device), ("Slice", device), ("Reinterpret", device)]
    assert operators(gpu, AUGMENT) == [("decoders__Image", decoder), *crop, ("Flip", device), ("Erase", device)]
    assert operators(gpu, Augment()) == [("decoders__Image", decoder)]


def test_a_mistake_in_a_gpu_graph_shows_without_a_gpu(dali):
    from nvidia.dali import fn

    pipeline = graph(Feed(), 16, AUGMENT, True, batch_size=4, num_threads=1, device_id=None)
    with pytest.raises(RuntimeError, match="incompatible device"), pipeline:
        pipeline.set_outputs(fn.flip(fn.decoders.image(fn.external_source(lambda: 0), device="mixed"), device="cpu"))
        pipeline.serialize()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_without_driver_is_a_config_error(dali):
    with pytest.raises(ConfigError, match="DALI cannot run on cuda here .*CUDA is not available") as caught:
        DaliLoader(LoaderSpec(make_split(4), 2, True, device="cuda"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"not an image at all", b"\xff\xd8\xff\xe0 cut"])
def test_a_damaged_image_is_named_and_the_loader_lives_on(dali, data):
    split = make_split(40)
    loader = DaliLoader(LoaderSpec(damage(split, 30, data), 4, train=False))
    seen = []
    with pytest.raises(DataError, match="row 33 of the pack is damaged .*fasttrain data verify") as caught:
        for batch in loader:
            seen += batch.indices.tolist()
    assert "\n" not in str(caught.value)
    assert seen == list(range(len(seen))) and len(seen) <= 28
    loader.set_epoch(0, 8)
    batches = list(loader)
    np.testing.assert_array_equal(torch.cat([batch.images for batch in batches]), split.pixels[split.rows[32:]])
    loader.close()


def test_an_error_that_no_image_explains_is_passed_on_in_one_line(dali):
    """Larger than the others: each decodes, but they make no batch."""
    large = make_split(1, size=24)
    loader = DaliLoader(LoaderSpec(damage(make_split(8), 2, large.jpeg[:large.offsets[1]].tobytes()), 4, train=False))
    with pytest.raises(DataError, match="loader dali: .*--loader resident") as caught:
        list(loader)
    assert "\n" not in str(caught.value)
    loader.close()


def test_a_new_iteration_ends_the_one_before(dali):
    loader = DaliLoader(LoaderSpec(make_split(23), 4, True, augment=AUGMENT))
    whole = [batch.images.clone() for batch in loader]
    first = iter(loader)
    next(first)
    second = iter(loader)
    np.testing.assert_array_equal(next(second).images, whole[0])
    assert list(first) == []
    np.testing.assert_array_equal(next(second).images, whole[1])
    loader.close()
    assert list(second) == []


def test_batches_outlive_the_loader(dali):
    split = make_split(23)
    loader = DaliLoader(LoaderSpec(split, 4, train=False))
    batches = list(loader)
    loader.close()
    del loader
    np.testing.assert_array_equal(torch.cat([batch.images for batch in batches])[:23], split.pixels[split.rows])
