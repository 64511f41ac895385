"""The table and the pictures of a profile."""

import pytest
from PIL import Image
from rich.console import Console

from fasttrain.perf.profile import PHASES, Profile
from fasttrain.perf.profile_report import draw_phases, draw_roofline, render


@pytest.fixture(params=[1.0, 1e-3])
def found(request):
    """Phases of a step, slow and fast; the fast one has no wait at all."""
    scale = request.param
    wait = 0.0 if scale < 1 else 70.0
    phases = dict(zip(PHASES, (wait, 0.5 * scale, 30 * scale, 60 * scale, 5 * scale, scale), strict=True))
    total = sum(phases.values())
    result = {"phases_ms": phases, "step_ms": 0.9 * total, "split_step_ms": total, "images_per_second": 1e5, "mfu": 0.4,
              "bandwidth_share": 0.6, "ceilings": {"copy_bytes_per_second": 4.3e12, "matmul_flops": 7.9e14},
              "bound": "bandwidth", "verdict": "bandwidth-bound: [60%] of each step; try --compile auto"}
    details = {"variant": "resnet50_maxpool", "batch_size": 1024, "precision": "bf16", "compile": "reduce-overhead",
               "loader": "resident", "steps": 30, "device_type": "cuda", "step_flops": 2e12, "step_bytes": 3e10,
               "loader_wait_ms": phases["loader_wait"], "launch_share": 0.02,
               "measuring_share": {"whole": 1e-5, "split": 2e-5},
               "operators": [{"name": "void kernel<" + "x" * 80 + ">", "ms": 1.5, "share": 0.3, "calls": 53.0}]}
    return Profile(result, details)


def test_the_table_says_it_all_in_a_hundred_columns(found):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(found))
    text = console.export_text()
    for word in ("loader wait", "host to device", "pass A", "pass B", "MFU", "40.0%", "60.0%", "[60%] of each step"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_pictures_have_their_sizes(found, tmp_path):
    draw_phases(found, tmp_path / "phases.png")
    draw_roofline(found, tmp_path / "roofline.png")
    assert Image.open(tmp_path / "phases.png").size == (1600, 640)
    assert Image.open(tmp_path / "roofline.png").size == (1280, 960)
