"""Draws synthetic images: textured, coloured shapes in front of clutter, the same pixels on every machine.

An image is a function of (seed, class, image number). Its class fixes a shape, a texture and a hue; everything else -
place, size, rotation, squeeze, shades, background, clutter, occlusion, light, noise - is drawn for each image. Random
numbers are hashes (`fasttrain.keyed`); the arithmetic is +, -, *, /, sqrt and tables, which IEEE 754 fixes to the bit,
so no version of a library can change a byte.

A picture is three float32 planes (red, green, blue) [n, S, S] in [0, 1]; masks and coordinates are [n, S, S].
"""

from typing import NamedTuple

import numpy as np

from fasttrain import keyed
from fasttrain.data.sources.outlines import OUTLINES, SHAPES, STEPS, angle_of, sine

STREAM = 1001  # keeps these hashes apart from those of training
NUMBERS = 128  # more than a picture takes
HUES = ("red", "amber", "lime", "green", "cyan", "blue", "violet", "magenta")
TEXTURES = {
    "plain": lambda f, rate: f.u * np.float32(0.25) - np.float32(0.4),
    "striped": lambda f, rate: sine(f.u * rate),
    "checked": lambda f, rate: 4 * sine(f.u * rate) * sine(f.v * rate),
    "dotted": lambda f, rate: sine(f.u * rate) + sine(f.v * rate) - np.float32(0.8),
    "ringed": lambda f, rate: sine(f.radius * rate),
    "rayed": lambda f, rate: sine(f.turn * 9),
    "wavy": lambda f, rate: sine(f.u * rate + np.float32(0.3) * sine(f.v * np.float32(1.5))),
    "spiral": lambda f, rate: sine(f.radius * rate + f.turn * 2),
}
RGB_OFFSETS = np.array([5, 3, 1], np.float32).reshape(3, 1, 1, 1)
NOISE = keyed.mix(np.arange(1 << 16)).astype(np.float32) * np.float32(2**-31) - 1
VARIETY = len(SHAPES) * len(TEXTURES) * len(HUES)


class Look(NamedTuple):
    """What the images of a class share. shape: a row of OUTLINES. texture: a key of TEXTURES. hue: in turns."""

    shape: int
    texture: str
    hue: float
    name: str


class Frame(NamedTuple):
    """Coordinates of every pixel as a shape of radius 1 sees them, rotated and squeezed.

    u, v, radius: float32 [n, S, S]; turn: float32, the angle; step: intp, the same in STEPS; scale: pixels in 1.
    """

    u: np.ndarray
    v: np.ndarray
    radius: np.ndarray
    step: np.ndarray
    scale: np.ndarray

    @property
    def turn(self):
        return self.step * np.float32(1 / STEPS)


class Dice:
    """Uniform numbers for each of n images: hashes of (seed, class, image) and of how many were taken before."""

    def __init__(self, seed, label, images):
        keys = keyed.mix(np.asarray(images) ^ keyed.key(seed, STREAM, label))
        bits = keyed.mix(keys[:, None] ^ keyed.mix(np.arange(NUMBERS)))
        units = (bits >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)
        self.units = np.ascontiguousarray(units.T)[..., None, None]
        self.taken = 0

    def take(self, count):
        """float32 [count, n, 1, 1] in [0, 1)."""
        self.taken += count
        return self.units[self.taken - count:self.taken]

    def __call__(self, low, high):
        """float32 [n, 1, 1] in [low, high), which broadcasts over pixels."""
        return self.take(1)[0] * np.float32(high - low) + np.float32(low)

    def chance(self, probability):
        """float32 [n, 1, 1]: 1 with `probability`, else 0."""
        return (self.take(1)[0] < np.float32(probability)).astype(np.float32)


def look_of(seed, label):
    """The Look of a class: hues take turns, the first VARIETY classes all differ, later ones in shade."""
    lap, place = divmod(label, VARIETY)
    pairs = len(SHAPES) * len(TEXTURES)
    pair = int(keyed.permutation(seed, STREAM, pairs)[(place + place // pairs) % pairs])
    shape, texture, hue = pair % len(SHAPES), list(TEXTURES)[pair // len(SHAPES)], place % len(HUES)
    name = f"{HUES[hue]} {texture} {SHAPES[shape]}" + (f" {lap + 1}" if lap else "")
    return Look(shape, texture, (hue + lap * 0.618) / len(HUES), name)


def draw(seed, label, look, images, size):
    """Pictures of one class: (uint8 [n, S, S, 3], masks of the shape, bool [n, S, S]).

    images: n image numbers; a picture depends on its own number alone.
    """
    dice = Dice(seed, label, images)
    picture = _background(dice, size)
    _clutter(picture, dice, size, dice.chance(0.9), scale=(0.15, 0.4))
    frame = _frame(dice, size, scale=(0.45, 0.85), spread=0.3, turn=0.12)
    mask = _mask(frame, look.shape)
    rate, sharpness = dice(1.6, 2.6), dice(0.5, 1.5)
    texture = np.clip(TEXTURES[look.texture](frame, rate) * sharpness + np.float32(0.5), 0, 1)
    color = _color(look.hue + dice(-0.05, 0.05), dice(0.6, 1), dice(0.5, 1))
    accent = _color(dice(0, 1), dice(0, 0.5), dice(0.05, 1))
    rim = np.clip((np.float32(0.97) - frame.radius / OUTLINES[look.shape].take(frame.step)) * 12, np.float32(-0.5), 0)
    shade = 1 + rim + np.float32(0.16) * (frame.u - frame.v)
    _paint(picture, mask, (shade * plane for plane in _blend(color, accent, texture)))
    _clutter(picture, dice, size, dice.chance(0.35), scale=(0.1, 0.3))
    return _develop(picture, dice, size), mask > 0.5


def _background(dice, size):
    """Two colours in soft blotches, sometimes striped."""
    blotches = _smooth(dice.take(25).reshape(5, 5, -1).transpose(2, 0, 1), size)
    u, _, _ = _axes(dice, size, scale=(0.2, 0.9), spread=1, turn=0.5)
    t = np.clip(blotches + dice.chance(0.5) * dice(0.1, 0.4) * sine(u), 0, 1)
    first, second = (_color(dice(0, 1), dice(0.05, 0.6), dice(0.15, 1)) for _ in range(2))
    return list(_blend(first, second, t))


def _smooth(knots, size):
    """Knots [n, k, k] blended over [n, S, S]: bilinear with eased weights."""
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32((knots.shape[1] - 1) / size)
    left = place.astype(np.int64)
    weight = place - left
    weight = weight * weight * (3 - 2 * weight)
    rows = knots[:, left] + weight[:, None] * (knots[:, left + 1] - knots[:, left])
    return rows[:, :, left] + weight * (rows[:, :, left + 1] - rows[:, :, left])


def _clutter(picture, dice, size, present, scale):
    """Paints some shape in some colour over the pictures where `present` is 1."""
    frame = _frame(dice, size, scale=scale, spread=0.95, turn=0.5)
    shape = dice(0, len(SHAPES)).astype(np.int64)
    color = _color(dice(0, 1), dice(0.1, 1), dice(0.15, 1))
    _paint(picture, _mask(frame, shape) * present, color)


def _frame(dice, size, **ranges):
    """A random Frame; see `_axes`."""
    u, v, scale = _axes(dice, size, **ranges)
    return Frame(u, v, np.sqrt(u * u + v * v), angle_of(u, v), scale * np.float32(size / 2))


def _axes(dice, size, scale, spread, turn):
    """u and v [n, S, S] of random place (within +-spread of the centre), rotation and squeeze, and the scale [n, 1, 1].

    scale: a range for the radius that has u = 1; the picture reaches from -1 to 1.
    """
    grid = _grid(size)
    x, y = grid[None, None, :] - dice(-spread, spread), grid[None, :, None] - dice(-spread, spread)
    scale, squeeze, turn = dice(*scale), dice(0.75, 1), dice(-turn, turn)
    cosine, sinus = sine(turn + np.float32(0.25)) / scale, sine(turn) / scale
    return cosine * x + sinus * y, cosine / squeeze * y - sinus / squeeze * x, scale


def _grid(size):
    """Where pixel centres lie: float32 [S] in (-1, 1)."""
    return (np.arange(size, dtype=np.float32) * 2 + np.float32(1 - size)) / np.float32(size)


def _mask(frame, shape):
    """How much of each pixel an outline covers, 0 to 1. shape: one row of OUTLINES, or one for each picture."""
    return np.clip((OUTLINES.take(shape * STEPS + frame.step) - frame.radius) * frame.scale + np.float32(0.5), 0, 1)


def _blend(first, second, t):
    """From the first color (t = 0) to the second (t = 1), plane by plane."""
    for start, step in zip(first, second - first, strict=True):
        yield start + t * step


def _paint(picture, mask, color):
    """Lays a color over the masked pixels. color: for each plane, what broadcasts to [n, S, S]."""
    for plane, paint in zip(picture, color, strict=True):
        plane += mask * (paint - plane)


def _color(hue, saturation, value):
    """RGB, float32 [3, n, 1, 1], of hue (in turns), saturation and value, each [n, 1, 1]."""
    k = hue * 6 + RGB_OFFSETS
    k -= 6 * np.floor(k / 6)
    return value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)


def _develop(picture, dice, size):
    """Light from one side, contrast, brightness and noise; then uint8 [n, S, S, 3]."""
    grid = _grid(size)
    light = 1 + dice(-0.3, 0.3) * grid[None, None, :] + dice(-0.3, 0.3) * grid[None, :, None]
    contrast, brightness = dice(0.6, 1.1), dice(-0.12, 0.12)
    light *= 255 * contrast
    offset, strength = 255 * (np.float32(0.5) - np.float32(0.5) * contrast + brightness), dice(2, 24)
    pixel = np.arange(size * size).reshape(size, size)
    pixels = np.empty((*light.shape, 3), np.uint8)
    noise = strength * NOISE.take(pixel + dice(0, len(NOISE)).astype(np.intp), mode="wrap")
    for channel, (plane, grain) in enumerate(zip(picture, (noise, noise[:, ::-1], noise[..., ::-1]), strict=True)):
        pixels[..., channel] = np.clip(plane * light + grain + offset, 0, 255)
    return pixels
