"""A small data set in a folder, and its pack."""

import pytest

from tests.data.packs import pack_of
from tests.data.trees import official


@pytest.fixture
def tree(tmp_path):
    return official(tmp_path, classes=3, train=5, val=2)


@pytest.fixture
def packed(tree, tmp_path):
    return pack_of(tree, tmp_path)
