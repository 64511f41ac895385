"""Tables that the synthetic images are drawn with: sine, angle of a point, and the outlines of shapes.

Values are rounded far above the last bit of a platform's sin(), so that they are the same everywhere.
"""

import math

import numpy as np

STEPS = 1024  # angles in a turn
GRID = 512  # cells of the angle table along each axis


def _table(values):
    """float32 of values rounded to 14 bits, so that the last bit of a platform's sin() does not matter."""
    return (np.round(np.asarray(values, np.float64) * 2**14) / 2**14).astype(np.float32)


def _angle_table():
    """The angle of each point of [-2, 2) x [-2, 2), in STEPS, intp [GRID, GRID] (row: v, column: u)."""
    centre = (np.arange(GRID) + 0.5) / (GRID / 4) - 2
    turns = np.arctan2(centre[:, None], centre[None, :]) / (2 * math.pi)
    return (np.round(turns * STEPS).astype(np.int64) % STEPS).astype(np.intp)


SINE = _table(np.sin(np.arange(STEPS) * (2 * math.pi / STEPS)))
ANGLE = _angle_table()


def sine(turns):
    """Sine of angles in turns: float32 of the same shape."""
    return SINE.take((turns * np.float32(STEPS)).astype(np.intp) & (STEPS - 1))


def angle_of(u, v):
    """The angle of points (u, v) within [-2, 2): intp, in STEPS of a turn. What lies outside gets an angle nearby."""
    column, row = (np.clip(w * np.float32(GRID / 4) + GRID // 2, 0, GRID - 1).astype(np.intp) for w in (u, v))
    row *= GRID
    row += column
    return ANGLE.take(row)


def _edges(corners):
    """Radii of a polygon around the origin, one for each of STEPS angles; corners: (turns, radius), ascending turns."""
    turns = np.arange(STEPS) / STEPS
    radii = np.zeros(STEPS)
    for (start, first), (end, second) in zip(corners, corners[1:] + [(corners[0][0] + 1, corners[0][1])], strict=True):
        inside = (turns - start) % 1 <= end - start
        before, after = (2 * math.pi * ((turns - start) % 1), 2 * math.pi * (end - start))
        line = first * second * math.sin(after) / (first * np.sin(before) + second * np.sin(after - before))
        radii = np.where(inside, line, radii)
    return radii


def _regular(*radii, times):
    """A polygon whose corners lie at equal angles, at `radii` repeated `times`."""
    count = len(radii) * times
    return _edges([(i / count, radii[i % len(radii)]) for i in range(count)])


def _shapes():
    """{name: largest radius 1 at each of STEPS angles}: outlines that every ray from the centre meets once."""
    angle = np.arange(STEPS) * (2 * math.pi / STEPS)
    arm = math.atan2(1, 3) / (2 * math.pi)
    quarter = [(turns, radius) for turns, radius in ((-arm, 1), (arm, 1), (0.125, math.sqrt(0.2)))]
    shapes = {
        "disk": np.ones(STEPS),
        "triangle": _regular(1, times=3),
        "square": _regular(1, times=4),
        "hexagon": _regular(1, times=6),
        "star": _regular(1, 0.42, times=5),
        "spark": _regular(1, 0.3, times=4),
        "burst": _regular(1, 0.62, times=9),
        "cross": _edges([(turns + k / 4, radius) for k in range(4) for turns, radius in quarter]),
        "clover": 0.62 + 0.38 * np.cos(3 * angle),
        "flower": 0.74 + 0.26 * np.cos(6 * angle),
        "gear": 0.86 + 0.14 * np.clip(3 * np.cos(10 * angle), -1, 1),
        "lens": 0.42 / np.sqrt(np.sin(angle) ** 2 + 0.42**2 * np.cos(angle) ** 2),
        "pear": (1 + 0.55 * np.cos(angle)) / 1.55,
        "arrow": _edges([(0, 1), (0.36, 0.95), (0.5, 0.3), (0.64, 0.95)]),
    }
    return list(shapes), np.stack([_table(radii / radii.max()) for radii in shapes.values()])


SHAPES, OUTLINES = _shapes()
