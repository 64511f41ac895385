import io
import json
import sys

import pytest

from fasttrain import environment
from fasttrain.environment import Part, probe


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Makes a distribution with a module of that source, importable here and in child processes."""
    def make(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        return Part(name, (name,), f"pip install {name}")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return make


@pytest.mark.parametrize("source, state, hint", [
    ("", "ok", ""),
    ("raise RuntimeError('built for another torch')", "broken", "RuntimeError: built for another torch"),
    ("raise OSError('a.so: broken\\nin two lines')", "broken", "OSError: a.so: broken; again"),
    ("import os; os.abort()", "broken", "ended with code"),
])
def test_a_part_is_imported_in_a_process_of_its_own(source, state, hint, packages):
    found = probe(packages("parcel", source))
    assert (found["version"], found["state"]) == ("1.2", state)
    assert hint in found["hint"] and ("pip install parcel" in found["hint"]) == (state != "ok")


def test_a_part_that_ends_its_process_leaves_the_others_in_order(packages, monkeypatch):
    sources = {"first": "", "abort": "import os; os.abort()", "fails": "raise OSError('gone')", "last": ""}
    monkeypatch.setattr(environment, "PARTS", {"triton": Part("nowhere", ("nowhere",), "x"), **{
        name: packages(name, source) for name, source in sources.items()}})
    found = environment.report()["parts"]
    assert {name: found[name]["state"] for name in sources} == {
        "first": "ok", "abort": "broken", "fails": "broken", "last": "ok"}


def test_a_missing_part_names_the_line_that_installs_it():
    assert probe(Part("nowhere", ("nowhere-a", "nowhere-b"), "pip install nowhere-a")) == {
        "version": None, "state": "missing", "hint": "pip install nowhere-a"}


def test_the_report_is_json_and_shows_every_part(packages, monkeypatch):
    parts = {"parcel": packages("parcel", "raise RuntimeError('broken [install]')"),
             "nowhere": Part("nowhere", ("nowhere",), "pip install nowhere"), "triton": environment.PARTS["triton"]}
    monkeypatch.setattr(environment, "PARTS", parts)
    report = environment.report()
    json.dumps(report, allow_nan=False)
    assert report["python"] == sys.version.split()[0] and report["cores"] >= 1
    assert report["devices"][0]["name"] == "cpu"
    shown = render(report)
    assert "RuntimeError: broken [install]" in shown and "nowhere is missing: pip install nowhere" in shown


def test_a_broken_torch_does_not_end_a_report(monkeypatch):
    def broken():
        raise RuntimeError("libcudart is gone")

    monkeypatch.setattr(environment, "torch_facts", broken)
    monkeypatch.setattr(environment, "PARTS", {"triton": environment.PARTS["triton"]})
    assert "devices" not in environment.versions()
    assert "python" in render(environment.report())


def render(report):
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=200).print(environment.render(report))
    return stream.getvalue()
