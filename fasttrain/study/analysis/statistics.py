"""Intervals and p-values: Student's t over seeds, a paired bootstrap over validation images, Holm's correction."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fasttrain import keyed

CONFIDENCE = 0.95
REPLICATES = 2000
RESAMPLE_SEED = 0
SAME = 1e-9  # values that differ by less, relatively, differ by rounding


class Estimate(NamedTuple):
    """A mean with its 95 % interval. p: two-sided, for a mean of 0. What cannot be known is None."""

    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    def within(self, least: float, most: float) -> "Estimate":
        """Returns the estimate with its interval cut to the values that are possible."""
        if self.low is None:
            return self
        return self._replace(low=max(self.low, least), high=min(self.high, most))

    @property
    def separable(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and (self.low > 0 or self.high < 0)


def t_within(t: float, df: int) -> float:
    """Returns P(|T| <= t) of Student's t with a whole number of degrees of freedom, t >= 0; exact.

    The finite sums of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    theta = math.atan(t / math.sqrt(df))
    sine, square = math.sin(theta), math.cos(theta) ** 2
    if df % 2 == 0:
        term, total = 1.0, 1.0
        for k in range(1, df // 2):
            term *= square * (2 * k - 1) / (2 * k)
            total += term
        return sine * total
    term, total = math.cos(theta), 0.0
    for k in range(1, (df - 1) // 2 + 1):
        total += term
        term *= square * 2 * k / (2 * k + 1)
    return 2 / math.pi * (theta + sine * total)


def t_quantile(df: int, confidence: float = CONFIDENCE) -> float:
    """Returns the t with P(|T| <= t) = confidence, by bisection."""
    low, high = 0.0, 1.0
    while t_within(high, df) < confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, df) < confidence else (low, middle)
    return high


def t_interval(values: Sequence[float]) -> Estimate:
    """Estimates a mean by Student's t from independent values; one value and equal values give no interval."""
    values = np.asarray(values, dtype=float)
    mean, df = float(values.mean()), len(values) - 1
    if df < 1 or np.ptp(values) <= SAME * np.abs(values).max():
        return Estimate(mean)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    reach = t_quantile(df) * error
    return Estimate(mean, mean - reach, mean + reach, 1 - t_within(abs(mean) / error, df))


@functools.lru_cache(maxsize=1)
def resamples(images: int) -> np.ndarray:
    """Returns how often each image counts in each replicate of a bootstrap, always the same: float32
    [REPLICATES, images]."""
    stream = keyed.key(RESAMPLE_SEED, keyed.RESAMPLE)
    counts = np.empty((REPLICATES, images), np.float32)
    for number, row in enumerate(counts):
        drawn = keyed.draw(stream, np.arange(number * images, (number + 1) * images), images)
        row[:] = np.bincount(drawn, minlength=images)
    return counts


def percentile_interval(value: float, replicates: np.ndarray) -> Estimate:
    """Estimates a `value` from those that resampling gave, [R]. p is at least 2 / (R + 1).

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 13.3 and 15.4.
    """
    low, high = np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    tail = int(min(np.count_nonzero(replicates <= 0), np.count_nonzero(replicates >= 0)))
    return Estimate(float(value), float(low), float(high), min(1.0, 2 * (1 + tail) / (len(replicates) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns one p-value for each given, in their order, by Holm's step-down adjustment.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted
