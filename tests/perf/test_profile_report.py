"""The table and the pictures of a profile."""

import io

import pytest
from rich.console import Console

from fasttrain import RunConfig
from fasttrain.errors import ConfigError
from fasttrain.perf.profile import PHASES, Profile
from fasttrain.perf.profile_charts import draw_all, draw_phases, draw_roofline, draw_timeline
from fasttrain.perf.profile_page import write_page
from fasttrain.perf.profile_report import new_folder, render


def timeline(phases):
    """Spans of two equal steps."""
    spans, at = [], 0.0
    for phase, ms in [*phases.items()] * 2:
        spans.append((phase, at, at + ms))
        at += ms
    return spans


@pytest.fixture(params=[1.0, 1e-3])
def found(request):
    """Phases of a step, slow and fast; the fast one has no wait at all."""
    scale = request.param
    wait = 0.0 if scale < 1 else 70.0
    phases = dict(zip(PHASES, (wait, 0.5 * scale, 30 * scale, 60 * scale, 5 * scale, scale), strict=True))
    total = sum(phases.values())
    result = {"phases_ms": phases, "step_ms": 0.9 * total, "split_step_ms": total, "images_per_second": 1e5, "mfu": 0.4,
              "bandwidth_share": 0.6, "ceilings": {"copy_bytes_per_second": 4.3e12, "matmul_flops": 7.9e14},
              "bound": "bandwidth", "verdict": "bandwidth-bound: [60%] of each step; try --compile auto",
              "causes": [{"name": "threads", "label": "cores left idle", "value": "1 of 2 <cores>",
                          "limit": "none idle", "found": True, "share": 0.5, "advice": "--threads 2"},
                         {"name": "layout", "label": "convolutions not channels last", "value": "0 of 17",
                          "limit": "50%", "found": False, "share": 0.3, "advice": "--set channels_last=true"}]}
    details = {"variant": "resnet50_maxpool", "batch_size": 1024, "precision": "bf16", "compile": "reduce-overhead",
               "loader": "resident", "steps": 30, "device_type": "cuda", "step_flops": 2e12, "step_bytes": 3e10,
               "not_counted": ["LayerNorm"], "loader_wait_ms": phases["loader_wait"], "launch_share": 0.02,
               "measuring_share": {"whole": 1e-5, "split": 2e-5}, "image_size": 64, "classes": 10, "threads": 2,
               "notes": ["device cuda: a GPU"], "timeline": timeline(phases),
               "operators": [{"name": "void kernel<" + "x" * 80 + ">", "ms": 1.5, "share": 0.3, "calls": 53.0}]}
    return Profile(result, details)


def test_the_table_says_it_all_in_a_hundred_columns(found):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(found))
    text = console.export_text()
    for word in ("loader wait", "host to device", "pass A", "pass B", "MFU", "40.0%", "60.0%", "LayerNorm",
                 found.result["verdict"]):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_phases_are_stacked_beside_the_whole_step(found, figures, tmp_path):
    draw_phases(found, tmp_path / "phases.png")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["in pieces", "as it trains"]
    lengths = {}
    for bar in axes.patches:
        lengths.setdefault(round(bar.get_y()), []).append(bar.get_width())
    pieces, whole = lengths.values()
    assert pieces == pytest.approx(list(found.result["phases_ms"].values()))
    assert sum(whole) == pytest.approx(found.result["step_ms"])
    assert axes.get_xlabel() == "ms a step"
    assert {text.get_text() for text in figures[0].legends[0].get_texts()} == {
        *(phase.replace("_", " ") for phase in PHASES), "one piece"}


def test_a_timeline_has_a_row_for_each_step(found, figures, tmp_path):
    draw_timeline(found, tmp_path / "timeline.png")
    (axes,) = figures[0].axes
    rows = {}
    for bar in axes.patches:
        rows.setdefault(round(bar.get_y() + bar.get_height() / 2), []).append((bar.get_x(), bar.get_width()))
    assert list(rows) == [0, 1]
    for row in rows.values():
        assert row[0][0] == 0
        assert [width for _, width in row] == pytest.approx(list(found.result["phases_ms"].values()))


def test_an_unknown_phase_is_drawn_too(found, figures, tmp_path):
    found.result["phases_ms"]["communication"] = found.result["phases_ms"]["forward"]
    draw_phases(found, tmp_path / "phases.png")
    assert "communication" in {text.get_text() for text in figures[0].legends[0].get_texts()}


def test_the_page_is_one_file_that_shows_all(found, tmp_path):
    write_page(found, None, draw_all(found, tmp_path), tmp_path)
    text = (tmp_path / "profile.html").read_text()
    assert text.count("<svg") == 4 and "<img" not in text and "http" not in text.replace("http://www.w3.org/", "")
    for word in ("bandwidth-bound: [60%]", "1 of 2 &lt;cores&gt;", "device cuda: a GPU", "step 2, forward", "LayerNorm",
                 "convolutions not channels last", "What was looked for"):
        assert word in text, word
    assert "What changed" not in text and len(text) < 3e6


def test_the_step_stands_below_its_roof(found, figures, tmp_path):
    draw_roofline(found, tmp_path / "roofline.png")
    (axes,) = figures[0].axes
    roofs, _, (point,) = [line.get_xydata() for line in axes.lines]
    intensity, reached = point
    assert intensity == pytest.approx(2e12 / 3e10)
    assert reached == pytest.approx(2e12 / (found.result["step_ms"] / 1e3))
    assert roofs[1] == pytest.approx([7.9e14 / 4.3e12, 7.9e14])  # the ridge
    assert roofs[0][0] < intensity < roofs[2][0]
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_a_profile_leaves_earlier_ones_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("resnet18_origin", "resnet18_origin-2", "resnet18_origin-3"):
        folder = new_folder(RunConfig())
        assert str(folder) == f"profiles/{expected}"
        folder.mkdir(parents=True)
        (folder / "profile.json").write_text("{}")
    with pytest.raises(ConfigError, match="already holds a profile"):
        new_folder(RunConfig(out="profiles/resnet18_origin"))
    assert str(new_folder(RunConfig(out="profiles"))) == "profiles"
