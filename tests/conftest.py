"""Shared fixtures: a cache of the tests' own, the real data where it is at hand."""

import os
from pathlib import Path

import pytest

# Tiny nets on a shared machine: a second thread costs more than it brings, and where a test needs one it must not spin.
# Read once, when torch is imported.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of the tests' own: nothing is read from or written to the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["FASTTRAIN_CACHE"] = str(folder)
    os.environ.pop("FASTTRAIN_DATA", None)
    return folder


@pytest.fixture(scope="session")
def real_data():
    """The folder that holds the real Tiny-ImageNet, named by FASTTRAIN_TEST_DATA; skips where there is none."""
    folder = os.environ.get("FASTTRAIN_TEST_DATA")
    if not folder:
        pytest.skip("FASTTRAIN_TEST_DATA names no folder with tiny-imagenet-200/ or its .tar.xz parts")
    assert Path(folder).is_dir(), f"FASTTRAIN_TEST_DATA={folder} is no folder"
    return folder
