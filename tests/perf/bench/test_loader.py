"""`bench loader`: its rows, its turns, what cannot run or fails, the picture."""

import json

import numpy as np
import pytest
from PIL import Image

from fasttrain.cli.main import main
from fasttrain.errors import ConfigError, DataError
from fasttrain.perf.bench import loader_chart, race
from fasttrain.perf.bench.loader import bench_loader
from fasttrain.perf.bench.loader_contender import LoaderContender, peak_rss_bytes
from fasttrain.perf.bench.worker import Failure
from fasttrain.registry import LOADERS

DATA = "synthetic:classes=2,train=6,val=3,size=16"
SOURCE = {"data": DATA, "image_size": 16, "classes": None, "limit": None}
FAST = {"data": DATA, "image_size": 16, "batch_size": [4], "device": "cpu", "repeats": 3, "report": lambda text: None}
KEYS = ["loader", "augment", "batch_size", "device", "images_per_second", "cpu_us_per_image", "build_seconds",
        "peak_rss_bytes", "note"]


class Fake:
    """Stands for a worker's process. `turns` gets each measurement; what `broken` names fails as it says."""

    turns, broken = [], {}

    def __init__(self, source, settings, environment=None):
        self.name, self.calls = settings["loader"], 0
        self.fail("build")
        first = np.full(8, settings["loader"] == "torch", np.uint8)
        self.facts = {"build_seconds": 0.5, "images": first.tobytes().hex()}

    def fail(self, when):
        if self.name in self.broken and self.broken[self.name][0] == when:
            raise Failure("error", self.broken[self.name][1])

    def measure(self):
        self.calls += 1
        self.fail("measure")
        self.turns.append(self.name)
        return {"images": 12, "seconds": 1 / self.calls, "cpu_seconds": 6e-6 * self.calls, "peak_rss_bytes": self.calls}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.turns.append(f"{self.name} closed")


@pytest.fixture
def fakes(monkeypatch):
    """Puts fake workers in the place of processes."""
    monkeypatch.setattr(race, "Worker", Fake)
    monkeypatch.setattr(Fake, "turns", [])
    monkeypatch.setattr(Fake, "broken", {})
    return Fake


def test_a_row_for_each_loader_and_setting_measured_in_turns(fakes):
    result = bench_loader(["resident", "jpeg"], ["none", "rrc"], **FAST)
    assert list(result) == ["environment", "rows"]
    assert result["environment"]["settings"]["data"] == DATA and "cpu" in result["environment"]
    assert [(row["loader"], row["augment"]) for row in result["rows"]] == [
        ("resident", "none"), ("jpeg", "none"), ("resident", "rrc"), ("jpeg", "rrc")]
    for row in result["rows"]:
        assert list(row) == KEYS
        assert row["images_per_second"] == {"median": 24, "min": 12, "max": 36}
        assert row["cpu_us_per_image"] == pytest.approx(1)
        assert (row["build_seconds"], row["peak_rss_bytes"], row["note"]) == (0.5, 3, "")
    assert fakes.turns[:8] == 3 * ["resident", "jpeg"] + ["jpeg closed", "resident closed"]


def test_without_names_all_run_and_what_cannot_gets_a_note(fakes):
    fakes.broken.update(dali=("build", "loader dali: cannot import DALI"), jpeg=("measure", "no\nmemory"))
    rows = {row["loader"]: row for row in bench_loader(**FAST)["rows"]}
    assert list(rows) == LOADERS.names()
    for name, note in (("dali", "loader dali: cannot import DALI"), ("jpeg", "loader jpeg: no\nmemory")):
        assert list(rows[name]) == KEYS
        assert rows[name]["note"] == note
        assert rows[name]["images_per_second"] == {"median": None, "min": None, "max": None}
        assert rows[name]["cpu_us_per_image"] is rows[name]["peak_rss_bytes"] is None
    assert rows["resident"]["images_per_second"]["median"] == 24
    assert rows["torch"]["note"] == "loader torch: differs from resident by up to 1 gray levels"


def test_what_was_asked_for_and_cannot_run_is_an_error(fakes):
    fakes.broken["dali"] = "build", "loader dali: cannot import DALI"
    with pytest.raises(ConfigError, match="^loader dali: cannot import DALI$"):
        bench_loader(["resident", "dali"], **FAST)


def test_bad_data_and_batches_larger_than_it(fakes):
    with pytest.raises(ConfigError, match=r"--batch-size 99 is larger than the data \(12 training images\)"):
        bench_loader(**{**FAST, "batch_size": [4, 99]})
    with pytest.raises(DataError, match="/nowhere"):
        bench_loader(**{**FAST, "data": "/nowhere"})


@pytest.mark.parametrize("flag, value, says", [
    ("--loaders", "residnt", "did you mean 'resident'"), ("--loaders", "jpeg,jpeg", "twice"),
    ("--loaders", "", "known"),
    ("--augment", "crop", "crop-flip"), ("--batch-size", "4,0", "'0'"), ("--repeats", "0", "'0'"),
    ("--seconds", "nan", "'nan'"), ("--seconds", "0", "'0'"), ("--classes", "-1", "'-1'"), ("--device", "tpu", "'tpu'"),
    ("--limit-train", "x", "'x'"), ("--json", "/nowhere/x.json", "/nowhere/x.json"), ("--plot", "/", "/"),
])
def test_bad_flags_are_told_in_one_line_before_anything_runs(fakes, capsys, flag, value, says):
    assert main(["bench", "loader", "--data", DATA, flag, value]) == 2
    error = capsys.readouterr().err
    assert says in error and len(error.splitlines()) == 1
    assert fakes.turns == []


def test_the_command_writes_prints_and_draws(fakes, capsys, tmp_path):
    fakes.broken["ffcv"] = "build", "loader ffcv: not here"
    code = main(["bench", "loader", "--data", DATA, "--image-size", "16", "--batch-size", "4,8", "--repeats", "2",
                 "--device", "cpu", "--json", str(tmp_path / "r.json"), "--plot", str(tmp_path / "r.png")])
    out, err = capsys.readouterr()
    assert code == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert [row["loader"] for row in result["rows"]] == 2 * LOADERS.names()
    assert Image.open(tmp_path / "r.png").format == "PNG"
    assert "augment crop-flip, batch size 8, cpu" in out and "loader ffcv: not here" in out
    assert max(map(len, out.splitlines())) <= 80 and "…" not in out
    assert "resident: built in 0.5 s" in err


@pytest.mark.parametrize("names", [["torch"], ["constant"], ["resident", "torch"], []])
def test_any_choice_of_loaders_is_drawn_in_speed_and_cpu_time(fakes, figures, tmp_path, names):
    result = bench_loader(["resident", "torch", "constant"], **FAST)
    result["rows"] = [row for row in result["rows"] if row["loader"] in names]
    loader_chart.draw(result, tmp_path / "chart.png")
    drawn = [name for name in names if name != "constant"]
    assert len(figures[0].axes) == (2 if drawn else 0)
    for axes, text in zip(figures[0].axes, ("24", "1"), strict=False):
        assert sorted(label.get_text() for label in axes.get_yticklabels()) == drawn
        assert [shown.get_text().split()[0] for shown in axes.texts] == [text] * len(drawn)
        assert len(axes.patches) == len(drawn) and axes.get_xscale() == "log"
    loader_chart.render(result)


def test_numbers_have_three_digits():
    values = [0.000314159, 0.5, 3.14159, 51.26, 999.4, 999.6, 16_700, 2.89e9]
    assert list(map(loader_chart.number, values)) == [
        "0.000314", "0.5", "3.14", "51.3", "999", "1k", "16.7k", "2.89G"]


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_contender_counts_what_it_delivers(steps):
    """Three steps make an epoch: fewer start in the middle of one, more go on with the next."""
    contender = LoaderContender("resident", {"flip": "random"}, 4, "cpu", SOURCE, seed=0, seconds=1e-3)
    assert contender.facts["build_seconds"] > 0
    assert len(bytes.fromhex(contender.facts["images"])) == 4 * 16 * 16 * 3
    contender.steps = steps
    measured = contender.measure()
    assert measured["images"] == 4 * steps
    assert measured["seconds"] > 0 and measured["peak_rss_bytes"] > 10e6


def test_cpu_time_and_memory_of_worker_processes_count():
    contender = LoaderContender("torch", {}, 4, "cpu", SOURCE, seed=0, seconds=0.02)
    assert contender.measure()["cpu_seconds"] > 0
    with_workers = peak_rss_bytes()
    contender.loader.close()
    assert peak_rss_bytes() < with_workers


def test_a_loader_for_real():
    """In a process of its own."""
    (row,) = bench_loader(["jpeg"], **{**FAST, "repeats": 1}, seconds=0.01)["rows"]
    assert row["note"] == ""
    assert row["images_per_second"]["median"] > 0 and row["cpu_us_per_image"] > 0
