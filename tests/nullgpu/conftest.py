"""Everything in this folder runs on the null GPU, which scripts/test_gpu_host builds and loads."""

import json
import os
from pathlib import Path

import pytest
import torch

from tests.nullgpu import nullgpu


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            if not item.get_closest_marker("computed"):
                item.add_marker(pytest.mark.gpu_host)
            if nullgpu.LIBRARY is None:
                item.add_marker(pytest.mark.skip(reason="runs on the null GPU: scripts/test_gpu_host"))


@pytest.fixture(scope="session")
def written():
    """What is put in here goes, under torch's version, to the JSON file that NULLGPU_RECORD names."""
    found = {}
    yield found
    if file := os.environ.get("NULLGPU_RECORD"):
        path = Path(file)
        before = json.loads(path.read_text()) if path.exists() else {}
        before[torch.__version__] = {**before.get(torch.__version__, {}), **found}
        path.write_text(json.dumps(before, indent=1, sort_keys=True) + "\n")
