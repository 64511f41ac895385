import math
import os

import pytest

from fasttrain import cores


@pytest.fixture
def group(tmp_path):
    """Makes a control group: its files by path, and the line that names it; returns what it allows."""
    def make(line, **files):
        for path, content in files.items():
            file = tmp_path / path.replace("__", "/").replace("-", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        (tmp_path / "own").write_text(line)
        return cores.quota(tmp_path, tmp_path / "own")
    return make


@pytest.mark.parametrize("content, allowed", [("max 100000\n", math.inf), ("200000 100000\n", 2), ("50000 100000", 0.5),
                                              ("", math.inf)])
def test_a_quota_of_version_2(content, allowed, group):
    assert group("0::/", **{"cpu-max": content}) == allowed


def test_the_tightest_of_a_group_and_those_above_counts(group):
    limits = {"cpu-max": "max 1", "a__cpu-max": "300000 100000", "a__b__cpu-max": "700000 100000"}
    assert group("0::/a/b\n", **limits) == 3


@pytest.mark.parametrize("quota, allowed", [("-1", math.inf), ("150000", 1.5)])
def test_a_quota_of_version_1_beside_a_version_2_without_one(quota, allowed, group):
    files = {"cpu,cpuacct__x__cpu-cfs_quota_us": quota, "cpu,cpuacct__x__cpu-cfs_period_us": "100000"}
    assert group("4:memory:/x\n3:cpu,cpuacct:/x\n0::/\n", **files) == allowed


def test_no_control_groups_at_all_are_no_limit(tmp_path):
    assert cores.quota(tmp_path, tmp_path / "nothing") == math.inf


@pytest.mark.parametrize("quota, expected", [(math.inf, 8), (2.5, 3), (0.2, 1), (20, 8)])
def test_cores_are_those_of_the_affinity_within_the_quota(quota, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "quota", lambda: quota)
    assert cores.cores() == expected
