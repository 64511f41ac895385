"""Statistics against published tables, against properties, and by hand."""

import math

import numpy as np
import pytest

from fasttrain.study.analysis.measures import learned_from
from fasttrain.study.analysis.statistics import holm, percentile_interval, resamples, t_interval, t_quantile, t_within

# P(|T| <= t) of 0.90, 0.95, 0.99: the table of Fisher and Yates, as in NIST/SEMATECH's e-Handbook, 1.3.6.7.2
TABLE = {1: (6.314, 12.706, 63.657), 2: (2.920, 4.303, 9.925), 3: (2.353, 3.182, 5.841), 4: (2.132, 2.776, 4.604),
         5: (2.015, 2.571, 4.032), 9: (1.833, 2.262, 3.250), 10: (1.812, 2.228, 3.169), 30: (1.697, 2.042, 2.750),
         100: (1.660, 1.984, 2.626)}


@pytest.mark.parametrize("df", TABLE)
def test_quantiles_equal_the_published_table(df):
    for confidence, published in zip((0.90, 0.95, 0.99), TABLE[df], strict=True):
        assert t_quantile(df, confidence) == pytest.approx(published, abs=6e-4)


def test_the_probability_has_its_closed_forms_and_the_normal_limit():
    for t in (0.0, 0.3, 1.0, 7.0):
        assert t_within(t, 1) == pytest.approx(2 / math.pi * math.atan(t))
        assert t_within(t, 2) == pytest.approx(t / math.sqrt(2 + t * t))
        assert t_within(t, 100_001) == pytest.approx(math.erf(t / math.sqrt(2)), abs=1e-5)


def test_an_interval_by_hand():
    # mean 2, s = 1, s / sqrt(3) = 0.57735, t = 4.3027: 2 -+ 2.4841
    found = t_interval([1, 2, 3])
    assert found[:3] == pytest.approx((2, -0.48414, 4.48414), abs=1e-5)
    assert found.p == pytest.approx(1 - math.sqrt(12) / math.sqrt(14))
    assert not found.separable and t_interval([1.9, 2, 2.1]).separable
    assert t_interval([-3, -2, -1]).p == found.p


def test_t_intervals_cover_the_truth_95_times_in_100():
    draws = np.random.default_rng(0).normal(5, 2, (4000, 3))
    covered = np.mean([low <= 5 <= high for _, low, high, _ in map(t_interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0, 3.0], [78.2 - 76 + 0.8, 77.6 - 75.4 + 0.8], [0.1 + 0.2 + 2.7, 3]])
def test_no_spread_no_interval(values):
    """Eleven hits more for each seed are no spread, though in percent the differences are not equal to the bit."""
    assert t_interval(values) == (pytest.approx(3.0), None, None, None)
    assert not t_interval(values).separable


def test_resamples_are_drawn_with_replacement_and_always_the_same():
    counts = resamples(500)
    assert (counts.sum(1) == 500).all() and (counts.sum(0) > 0).all()
    # each image counts like a Poisson number of mean 1
    assert [np.mean(counts == k) for k in range(4)] == pytest.approx([1 / math.e] * 2 + [0.184, 0.0613], abs=2e-3)
    resamples.cache_clear()
    assert np.array_equal(resamples(500), counts)


def test_the_bootstrap_of_a_mean_agrees_with_its_standard_error():
    values = np.random.default_rng(1).normal(0.1, 1, 500)
    found = percentile_interval(values.mean(), resamples(500) @ values / 500)
    error = values.std() / math.sqrt(500)
    assert found[:3] == pytest.approx((values.mean(), values.mean() - 1.96 * error, values.mean() + 1.96 * error),
                                      abs=0.01)
    two_sided = math.erfc(abs(values.mean()) / error / math.sqrt(2))
    assert found.p == pytest.approx(two_sided, abs=0.02)


def test_a_bootstrap_p_is_never_zero_nor_above_one():
    assert percentile_interval(1.0, np.ones(999)).p == 0.002
    assert percentile_interval(0.0, np.zeros(999)).p == 1.0


def test_holm_by_hand():
    # sorted .01 x 3, .03 x 2, .04 x 1, never falling
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("classes, least", [(200, 1.5), (10, 30), (9, 100 / 3), (4, 43.75), (3, 50), (2, 62.5)])
def test_what_counts_as_learned_can_be_reached_with_any_number_of_classes(classes, least):
    assert learned_from(classes) == pytest.approx(least)
