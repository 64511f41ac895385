"""Whether a challenger holds the record: one-sided tests at p < 0.01."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fasttrain.study.analysis.statistics import t_within
from fasttrain.study.record.categories import Category
from fasttrain.study.record.trial import Trial

LEVEL = 0.01


@dataclass(frozen=True)
class Test:
    """One condition of a record. p: of the data if it did not hold; None where it is counted, not tested."""

    name: str
    passed: bool
    figure: str
    p: float | None = None


def judge(category: Category, measure: str, trials: Sequence[Trial], holder: Sequence[Trial] | None,
          earlier: Sequence[Sequence[float]] = (), limit: float | None = None) -> list[Test]:
    """Returns the conditions of a record, all of which must pass.

    measure: what costs, the field `seconds` or `pflop` of a Trial. holder: the trials of the record that stands, seed
    by seed beside `trials`; None in a category without one. earlier: the top-1 of the category's earlier records,
    whose spread counts too. limit: of the PFLOP, where the category has one.
    """
    top1 = [one.top1 for one in trials]
    costs = [getattr(one, measure) for one in trials]
    tests = [Test("seeds", len(trials) >= category.seeds, f"{len(trials)} of at least {category.seeds}")]
    if category.target is not None:
        p = p_above(np.subtract(top1, category.target), [np.subtract(values, np.mean(values)) for values in earlier])
        tests.append(Test(f"top-1 of at least {category.target:g} %", p < LEVEL, spread(top1, "%"), p))
        if holder is not None:
            gains = [getattr(old, measure) - cost for old, cost in zip(holder, costs, strict=True)]
            p = p_above(gains)
            tests.append(Test(f"fewer {measure} than the holder", p < LEVEL, spread(gains, f"{measure} less"), p))
        return tests
    spent = max(one.pflop for one in trials)
    tests.append(Test(f"within the cost of {category.full_epochs} epochs at full size", spent <= limit,
                      f"{spent:.3g} of {limit:.3g} PFLOP"))
    if holder is not None:
        gains = [one - old.top1 for one, old in zip(top1, holder, strict=True)]
        p = p_above(gains)
        tests.append(Test("a higher top-1 than the holder", p < LEVEL, spread(gains, "points"), p))
    return tests


def p_above(values: Sequence[float], residuals: Sequence[Sequence[float]] = ()) -> float:
    """Returns the one-sided p-value of Student's t-test that the mean of `values` is above 0.

    residuals: of other samples around their own means, with the same standard deviation, which they help to estimate.
    Equal values, such as counts, are above 0 or not: p is 0 or 1.
    """
    values = np.asarray(values, dtype=float)
    samples = [values - values.mean(), *map(np.asarray, residuals)]
    freedom = sum(len(sample) - 1 for sample in samples)
    squares = sum(float((sample**2).sum()) for sample in samples)
    mean = float(values.mean())
    if freedom < 1:
        return 1.0
    if squares <= 1e-18 * max(mean**2, 1e-300):
        return 0.0 if mean > 0 else 1.0
    t = mean / math.sqrt(squares / freedom / len(values))
    tail = (1 - t_within(abs(t), freedom)) / 2
    return tail if t > 0 else 1 - tail


def spread(values: Sequence[float], unit: str) -> str:
    """Returns mean and range in words."""
    return f"{np.mean(values):.4g} {unit} ({min(values):.4g} to {max(values):.4g})"
