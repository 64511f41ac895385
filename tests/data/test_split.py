"""Splits: which rows a view of a pack has, balanced over classes, in canonical order."""

import numpy as np
import pytest

from fasttrain.data.split import choose_rows, class_count, view_fingerprint
from fasttrain.errors import ConfigError

LABELS = np.repeat(np.arange(10), 5)


def test_all_rows_without_bounds():
    assert np.array_equal(choose_rows(LABELS, 10), np.arange(50))


def test_classes_are_the_first():
    rows = choose_rows(LABELS, 3)
    assert rows.dtype == np.int64 and np.array_equal(LABELS[rows], np.repeat(np.arange(3), 5))


def test_limit_is_balanced_and_takes_the_first_of_each_class():
    rows = choose_rows(LABELS, 10, 25)
    assert np.bincount(LABELS[rows]).tolist() == [3] * 5 + [2] * 5
    assert rows[:4].tolist() == [0, 1, 2, 5] and np.all(np.diff(rows) > 0)


def test_limit_below_the_class_count():
    assert choose_rows(LABELS, 10, 4).tolist() == [0, 5, 10, 15]


def test_class_that_runs_out_leaves_its_turn_to_others():
    labels = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2])
    assert choose_rows(labels, 3, 6).tolist() == [0, 1, 2, 3, 5, 6]


def test_limit_above_the_data_takes_all():
    assert len(choose_rows(LABELS, 2, 1000)) == 10


@pytest.mark.parametrize("limit", [0, -3])
def test_limit_below_one(limit):
    with pytest.raises(ConfigError, match=f"--limit-val {limit}: choose at least 1"):
        choose_rows(LABELS, 10, limit, "val")


@pytest.mark.parametrize("classes", [0, -1, 11])
def test_class_count_out_of_bounds(classes):
    with pytest.raises(ConfigError, match=f"--classes {classes}: the data has 10 classes; choose 1 to 10"):
        class_count(classes, 10)
    assert class_count(None, 10) == class_count(10, 10) == 10


def test_fingerprints_tell_views_apart():
    views = [view_fingerprint(*view) for view in (("a", "train", 10, 50), ("b", "train", 10, 50), ("a", "val", 10, 50),
                                                  ("a", "train", 9, 50), ("a", "train", 10, 49))]
    assert len(set(views)) == 5 and view_fingerprint("a", "train", 10, 50) == views[0]
