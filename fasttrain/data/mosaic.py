"""Draws mosaics of images: `train_batch.png` and the preview of a split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fasttrain.format import short

BATCH_SHOWN = 32


def draw_batch(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], path: Path, title: str) -> None:
    """Draws up to 32 images of a batch as the network gets them; see `draw_mosaic`."""
    draw_mosaic(images[:BATCH_SHOWN], [short(class_names[k], 99) for k in labels[:BATCH_SHOWN]], path, title)


def draw_preview(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], path: Path, title: str,
                 count: int = 64) -> None:
    """Draws `count` images of a split, spread evenly over its classes; `images` may be memory-mapped."""
    by_class = np.argsort(labels, kind="stable")
    chosen = by_class[np.linspace(0, len(by_class) - 1, min(count, len(by_class))).astype(int)]
    captions = [short(class_names[k], 99) for k in np.asarray(labels)[chosen]]
    draw_mosaic(np.stack([images[i] for i in chosen]), captions, path, title)


def draw_mosaic(images: np.ndarray, captions: Sequence[str], path: Path, title: str, columns: int = 8) -> None:
    """Draws images (uint8 `[B, S, S, 3]`) pixel by pixel, without smoothing, each above its caption, all of as many
    lines; a line that is too long is cut."""
    from PIL import Image, ImageDraw

    side = images.shape[1] * max(1, round(160 / images.shape[1]))
    gap, line, top = 12, 6 + 18 * (captions[0].count("\n") + 1), 48
    columns = min(columns, len(images))
    canvas = Image.new("RGB", (gap + columns * (side + gap),
                               top + -(-len(images) // columns) * (side + line + gap)), "white")
    draw, font = ImageDraw.Draw(canvas), font_of(14)
    draw.text((gap, 12), fit(title, font_of(18), canvas.width - 2 * gap), fill="black", font=font_of(18))
    for n, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = gap + n % columns * (side + gap), top + n // columns * (side + line + gap)
        canvas.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST), (x, y))
        for below, text in enumerate(caption.split("\n")):
            draw.text((x, y + side + 4 + 18 * below), fit(text, font, side), fill="black", font=font)
    canvas.save(path, format="PNG")


def font_of(size: int):
    """Returns the font of the other pictures, which has accents and Greek, where Pillow's own has not."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def fit(text: str, font, width: int) -> str:
    """Returns the text, cut to the number of pixels it may take."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
