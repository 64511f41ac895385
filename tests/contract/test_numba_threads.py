"""numba's threading layers are a trap: `omp` kills forked workers that use it, `workqueue` threads that use it at once.

No loader may depend on which one is there, so part of the contract runs under each of them, in a process of its own in
which the layer is in use before the first loader is built.
"""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys, numba, pytest

@numba.njit(parallel=True)
def total(n):
    s = 0
    for i in numba.prange(n):
        s += i
    return s

total(1000)
assert numba.threading_layer() == sys.argv[1], numba.threading_layer()
sys.exit(pytest.main(["-q", "-x", "tests/contract/test_loaders.py", "-k", "delivers or breaking_off or one_image"]))
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_every_loader_works_under(layer, tmp_path):
    script = tmp_path / "under_a_layer.py"
    script.write_text(SCRIPT)
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = {**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2", "PYTHONPATH": root}
    done = subprocess.run([sys.executable, script, layer], cwd=root, env=environment, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
