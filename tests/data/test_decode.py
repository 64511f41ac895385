"""Decoding: both decoders give the same pixels; damage is an error; other sizes follow torchvision's arithmetic."""

import io

import numpy as np
import pytest
from PIL import Image

from fasttrain.data import decode
from fasttrain.data.decode import decode_into, decode_plain, decoder_name, probe
from tests.data.trees import encoded, image

JPEGS = {
    "4:2:0": encoded(image()),
    "4:4:4": encoded(image(), subsampling=0),
    "4:2:2": encoded(image(), subsampling=1),
    "progressive": encoded(image(), progressive=True),
    "grayscale": encoded(image(mode="L")),
    "stored as RGB": encoded(image(), keep_rgb=True),
}


def decoded(data, size=16):
    out = np.zeros((size, size, 3), np.uint8)
    return out, decode_into(data, out)


@pytest.fixture(params=["simplejpeg", "Pillow"])
def decoder(request, monkeypatch):
    if request.param == "Pillow":
        monkeypatch.setattr(decode, "simplejpeg", None)
    else:
        pytest.importorskip("simplejpeg")
    assert decoder_name().startswith(request.param)
    return request.param


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_of_the_wanted_size(decoder, kind):
    pixels, plain = decoded(JPEGS[kind])
    with Image.open(io.BytesIO(JPEGS[kind])) as picture:
        assert np.array_equal(pixels, np.asarray(picture.convert("RGB")))
    assert plain


@pytest.mark.parametrize("kind", JPEGS)
def test_plain_jpegs_decode_without_a_second_look(decoder, kind):
    out = np.zeros((16, 16, 3), np.uint8)
    decode_plain(memoryview(JPEGS[kind]), out)
    assert np.array_equal(out, decoded(JPEGS[kind])[0])


@pytest.mark.parametrize("data", [b"", b"not an image at all", JPEGS["4:2:0"][:-40], encoded(image(size=(8, 8))),
                                  encoded(image(size=(24, 24)))])
def test_what_is_no_longer_a_plain_jpeg(data):
    pytest.importorskip("simplejpeg")
    with pytest.raises(ValueError):
        decode_plain(data, np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize("picture, kind", [(image(size=(16, 17)), "JPEG"), (image(mode="CMYK"), "JPEG"),
                                           (image(), "PNG"), (image(), "WEBP"), (image(mode="P"), "GIF")])
def test_what_a_jpeg_loader_cannot_serve(decoder, picture, kind):
    assert decoded(encoded(picture, kind))[1] is False


@pytest.mark.parametrize("size", [(16, 16), (40, 16), (16, 41), (8, 8), (7, 20), (33, 50), (100, 31)])
def test_other_sizes_shorter_side_then_centre(size):
    """Resize(16) and CenterCrop(16) of torchvision 0.21, spelled out."""
    picture = image(size=size)
    width, height = size
    new = (16, int(16 * height / width)) if width <= height else (int(16 * width / height), 16)
    left, top = int(round((new[0] - 16) / 2.0)), int(round((new[1] - 16) / 2.0))
    expected = picture.resize(new, Image.Resampling.BILINEAR).crop((left, top, left + 16, top + 16))
    assert np.array_equal(decoded(encoded(picture, "PNG"))[0], np.asarray(expected))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_modes_become_rgb(mode):
    picture = image(mode=mode)
    assert np.array_equal(decoded(encoded(picture, "PNG"))[0], np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("data, reason", [
    (b"", "empty"),
    (b"not an image at all", "not an image"),
    (b"\xff\xd8\xff", "."),
    (JPEGS["4:2:0"][:200], "."),
    (JPEGS["4:2:0"][:-40], "."),
    (JPEGS["grayscale"][:-40], "."),
    (encoded(image(size=(30, 30)))[:-200], "."),
    (encoded(image(), "PNG")[:-100], "."),
    (encoded(image(), "GIF")[:40], "."),
])
def test_what_is_no_whole_image(decoder, data, reason):
    with pytest.raises(ValueError, match=reason):
        decoded(data)


def test_image_that_unpacks_to_gigapixels_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="exceeds limit"):
        decoded(encoded(image(size=(17, 16)), "PNG"))


def test_image_too_narrow_to_resize():
    with pytest.raises(ValueError, match="too narrow"):
        decoded(encoded(Image.new("1", (300_000, 1)), "PNG"))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_fuzzed_images_decode_or_raise_value_error(decoder):
    """Any damage is either noticed, as ValueError, or gives some picture: never another error."""
    rng = np.random.default_rng(0)
    sources = [*JPEGS.values(), *(encoded(image(mode="P"), kind) for kind in ("PNG", "GIF")), encoded(image(), "WEBP"),
               encoded(image(), "BMP"), encoded(image(), "TIFF"), encoded(image(size=(20, 30)))]
    noticed = 0
    for trial in range(600):
        data = bytearray(sources[trial % len(sources)])
        for position in rng.integers(0, len(data), rng.integers(1, 6)):
            data[position] = rng.integers(0, 256)
        try:
            decoded(bytes(data[:rng.integers(len(data) // 2, len(data) + 1)]))
        except ValueError:
            noticed += 1
    assert noticed > 300


def test_probe_reads_the_header():
    assert probe(JPEGS["4:2:0"]) == ("JPEG", 16, 16, False)
    assert probe(JPEGS["grayscale"]) == ("JPEG", 16, 16, True)
    assert probe(encoded(image(size=(5, 9)), "PNG")) == ("PNG", 5, 9, False)
    with pytest.raises(ValueError, match="not an image"):
        probe(b"text")


@pytest.mark.parametrize("dtype, kind", [(np.uint16, "PNG"), (np.int32, "TIFF")])
def test_sixteen_bits_are_scaled_in_whatever_they_come(dtype, kind):
    deep = np.linspace(0, 65535, 256).reshape(16, 16).astype(dtype)
    expected = (deep >> 8).astype(np.uint8)
    assert np.array_equal(decoded(encoded(Image.fromarray(deep), kind))[0][..., 0], expected)
