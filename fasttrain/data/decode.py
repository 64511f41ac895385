"""Encoded bytes to pixels. simplejpeg (libjpeg-turbo) where it is installed, else Pillow: the pixels are equal."""

import io
import warnings

import numpy as np
import PIL
from PIL import Image, ImageOps

try:
    import simplejpeg
except Exception:  # a broken install raises more than ImportError
    simplejpeg = None

# Damage is an error or it is nothing; and a file of a few bytes that claims gigapixels is refused, not warned about.
warnings.filterwarnings("ignore", module=r"PIL\..*")
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
MAX_RESIZED_PIXELS = 1 << 26

TURBO_COLORS = {"Gray", "YCbCr", "RGB"}
PILLOW_COLORS = {"L", "RGB"}


def decoder_name() -> str:
    """Returns the decoder and its version, as the manifest of a pack states it."""
    return f"simplejpeg {simplejpeg.__version__}" if simplejpeg else f"Pillow {PIL.__version__}"


def decode_into(data: bytes, out: np.ndarray) -> bool:
    """Decodes an image into `out`, uint8 [S, S, 3] RGB; returns whether it is a JPEG of that size. Gray becomes RGB.

    Other sizes and formats: shorter side to S by Pillow's bilinear filter, then the centre S x S, as torchvision's
    Resize and CenterCrop do. Raises ValueError for what is no image, is cut, or is damaged in a way a decoder can see
    (many damaged JPEGs look whole to every decoder: only a checksum of the source proves integrity).
    """
    size = out.shape[0]
    if simplejpeg and _turbo_reads(data, size):
        simplejpeg.decode_jpeg(data, "RGB", buffer=out, strict=True)
        return True
    image, plain_jpeg = _open(data)
    out[:] = np.asarray(_resize(image, size))
    return plain_jpeg and image.size == (size, size) and simplejpeg is None


def decode_plain(data: bytes | memoryview, out: np.ndarray) -> None:
    """Decodes as `decode_into` what that called a JPEG of the right size, without looking at the header first."""
    if simplejpeg is None:
        decode_into(data, out)
    elif simplejpeg.decode_jpeg(data, "RGB", buffer=out, strict=True).shape != out.shape:
        raise ValueError("another size than when it was packed")


def _turbo_reads(data, size):
    """Returns whether `data` starts like a JPEG of that size in a colour space that libjpeg-turbo turns into RGB."""
    if data[:2] != b"\xff\xd8":
        return False
    try:
        height, width, color, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    except ValueError:  # damaged, or of a rare chroma layout: Pillow decides
        return False
    return height == width == size and color in TURBO_COLORS


def decode_photo(data: bytes, size: int) -> np.ndarray:
    """Returns an image of any size and format as uint8 [size, size, 3], as `decode_into` has it, but the right way up.

    Cameras note in EXIF how they were held; data sets are read as they are stored. Raises ValueError as `decode_into`.
    """
    image, _ = _open(data, ImageOps.exif_transpose)
    return np.asarray(_resize(image, size))


def decode_stored(data: bytes, side: int) -> np.ndarray:
    """Returns an image of any size and format as uint8 [height, width, 3], the shorter side at most `side`.

    Larger ones are shrunk by Pillow's bilinear filter. Raises ValueError as `decode_into`.
    """
    image, _ = _open(data)
    short = min(image.size)
    if short > side:
        image = image.resize(tuple(side * length // short for length in image.size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _open(data, change=lambda image: image):
    """Returns the whole image, changed, as RGB, and whether it is a JPEG of one or three components."""
    if not data:
        raise ValueError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _to_rgb(change(image)), image.format == "JPEG" and image.mode in PILLOW_COLORS
    except Exception as error:  # Pillow's readers raise a dozen types on damaged input
        raise ValueError(_reason(error)) from error


def _to_rgb(image):
    deep = image.mode == "I" and image.getextrema()[1] > 255  # 16 bits in 32, as some TIFFs and PNGs come
    if deep or image.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _reason(error):
    if isinstance(error, PIL.UnidentifiedImageError):
        return "not an image"
    return str(error) or type(error).__name__


def _resize(image, size):
    width, height = image.size
    if (width, height) == (size, size):
        return image
    short = min(width, height)
    new_width, new_height = size * width // short, size * height // short
    if new_width * new_height > MAX_RESIZED_PIXELS:
        raise ValueError(f"{width} x {height} pixels: too narrow to resize")
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    image = image.resize((new_width, new_height), Image.Resampling.BILINEAR)
    return image.crop((left, top, left + size, top + size))


def probe(data: bytes) -> tuple[str, int, int, bool]:
    """Returns (format, width, height, grayscale) from an image's header; ValueError if there is none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.format, *image.size, image.mode in {"1", "L", "LA", "I", "I;16", "F"}
    except Exception as error:
        raise ValueError(_reason(error)) from error
