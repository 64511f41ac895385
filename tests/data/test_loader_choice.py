"""What `auto` picks, and that it says why."""

import dataclasses

import pytest

from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.errors import ConfigError
from tests.helpers import make_split

NEED = 23 * 16 * 16 * 3


def choose(monkeypatch, free, device="cpu", dali=True, jpeg=True):
    monkeypatch.setattr(loaders, "free_memory", lambda device: free)
    monkeypatch.setattr(loaders, "missing", lambda name: None if dali else "no module named nvidia")
    split = make_split(23)
    if not jpeg:
        split = dataclasses.replace(split, jpeg=None, offsets=None)
    return loaders.choose("auto", LoaderSpec(split, 4, True, device=device))


@pytest.mark.parametrize("free, device, dali, jpeg, expected", [
    (2 * NEED, "cpu", True, True, "resident"),
    (2 * NEED, "cuda", True, True, "resident"),
    (2 * NEED - 1, "cpu", True, True, "jpeg"),
    (2 * NEED - 1, "cuda", True, True, "dali"),
    (2 * NEED - 1, "cuda", False, True, "jpeg"),
    (0, "cpu", True, False, "resident"),
    (0, "cuda", True, False, "resident"),
])
def test_auto(monkeypatch, free, device, dali, jpeg, expected):
    name, reason = choose(monkeypatch, free, device, dali, jpeg)
    assert name == expected
    assert reason.startswith(f"loader {name}: ") and " free" in reason and "\n" not in reason


def test_a_name_is_taken_as_it_is():
    assert loaders.choose("torch", None) == ("torch", "loader torch: asked for")


def test_free_memory_of_this_machine_is_plausible():
    assert 50e6 < loaders.free_memory("cpu") < 1e14


def test_missing_backends_are_told_in_one_line(monkeypatch):
    assert loaders.missing("resident") is None
    monkeypatch.setitem(loaders.BACKENDS, "dali", "nowhere.at.all")
    assert loaders.missing("dali") == "No module named 'nowhere'"


@pytest.mark.parametrize("name", ["jpeg"])
def test_loaders_that_decode_refuse_other_data(name):
    split = dataclasses.replace(make_split(3), jpeg=None, offsets=None)
    with pytest.raises(ConfigError, match="--loader resident"):
        loaders.build(name, LoaderSpec(split, 3, True))


def test_memory_that_a_container_uses_is_not_free_but_its_page_cache_is(tmp_path):
    assert loaders.container_memory(tmp_path) == float("inf")
    for name, text in (("max", "1000"), ("current", "700"), ("stat", "anon 300\nfile 400\nshmem 100\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert loaders.container_memory(tmp_path) == 1000 - 700 + 400 - 100
    (tmp_path / "memory.max").write_text("max\n")
    assert loaders.container_memory(tmp_path) == float("inf")
