"""Checkpoints: damage is found, a crash at any instant leaves one that loads, no code runs from one."""

import os
import pickle
import shutil

import pytest
import torch

from fasttrain.config import RunConfig
from fasttrain.errors import DataError
from fasttrain.models import build_model
from fasttrain.runs.folder import RunFolder
from fasttrain.train import checkpoint
from fasttrain.train.checkpoint import Checkpoints, disk_bytes
from fasttrain.train.recovery import recover


def state(epoch):
    return {"epoch": epoch, "model": {"w": torch.full((300,), float(epoch))}}


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save("best", state(1))
    checkpoints.save("last", state(2))
    return checkpoints


def test_round_trip(saved):
    assert torch.equal(saved.load("last")["model"]["w"], torch.full((300,), 2.0))
    assert saved.manifest()["last.pt"]["epoch"] == 2
    assert sorted(os.listdir(saved.folder)) == ["best.pt", "last.pt", "manifest.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"last.pt": 3}', '{"sha256": "0", "last.pt": {"epoch": 7}}', None])
def test_a_damaged_manifest_is_told_and_written_anew_from_the_files(saved, text):
    whole = saved.manifest()
    if text is None:
        saved.manifest_path.unlink()
    else:
        saved.manifest_path.write_text(text)
    with pytest.raises(DataError, match="manifest.json: (damaged|missing)"):
        saved.read_manifest()
    assert saved.load("last")["epoch"] == 2 and saved.manifest() == whole
    said = []
    assert recover(saved, said.append)["epoch"] == 2
    assert len(said) == 1 and "manifest.json" in said[0] and saved.read_manifest() == whole


def test_every_flipped_bit_and_every_cut_is_found(saved):
    path = saved.folder / "last.pt"
    data = path.read_bytes()
    for position in range(0, len(data), 97):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1:])
        with pytest.raises(DataError, match="damaged"):
            saved.load("last")
        path.write_bytes(data[:position])
        with pytest.raises(DataError, match="damaged"):
            saved.load("last")


def test_a_damaged_last_falls_back_to_best_and_says_so(saved):
    (saved.folder / "last.pt").write_bytes(b"x")
    said = []
    assert recover(saved, said.append)["epoch"] == 1
    assert len(said) == 1 and "best.pt" in said[0]


@pytest.mark.parametrize("write", [1, 2])
def test_a_crash_between_any_two_writes_leaves_a_checkpoint_that_loads(saved, monkeypatch, write):
    calls = []

    def dies(source, target):
        calls.append(target)
        if len(calls) == write:
            raise KeyboardInterrupt
        return replace(source, target)

    replace = os.replace
    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        saved.save("last", state(3))
    monkeypatch.undo()
    assert saved.load("last")["epoch"] == 2
    saved.save("last", state(3))
    assert saved.load("last")["epoch"] == 3


def test_a_failed_write_keeps_the_old_checkpoint_and_leaves_nothing_behind(saved, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        saved.save("last", state(3))
    monkeypatch.undo()
    assert saved.load("last")["epoch"] == 2
    assert not list(saved.folder.glob(".*"))


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", pickle.dumps(Bomb()), pickle.dumps({"format": 1})])
def test_foreign_files_are_refused(data):
    with pytest.raises(DataError, match="not a checkpoint"):
        checkpoint.read_state("x.pt", data)


def test_other_format_version_is_refused(tmp_path):
    torch.save({"format": 999}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="version"):
        checkpoint.read_state("x.pt", (tmp_path / "x.pt").read_bytes())


def test_a_disk_too_small_for_a_run_is_told_before_anything_is_written(tmp_path, monkeypatch):
    config = RunConfig()
    needed = disk_bytes(config, 10)
    assert needed == 4 * 2 * 4 * sum(p.numel() for p in build_model("resnet18", "origin", 10).parameters())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(needed, 1, needed - 1))
    with pytest.raises(DataError, match=r"341\.2 MiB.* choose another --out"):
        RunFolder(tmp_path / "runs" / "1", resumed=False).claim(config, needed)
    assert not list(tmp_path.iterdir())
    RunFolder(tmp_path, resumed=True).claim(config, needed)
