"""Checkpoints: damage is found, a crash at any instant leaves one that loads, no code runs from one."""

import hashlib
import json
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


def test_the_save_before_the_last_one_is_kept(saved):
    for epoch in (3, 4):
        saved.save("last", state(epoch))
        assert [saved.load(name)["epoch"] for name in ("last", "previous", "best")] == [epoch, epoch - 1, 1]
    assert [saved.manifest()[f"{name}.pt"]["epoch"] for name in ("last", "previous", "best")] == [4, 3, 1]


def test_a_manifest_that_a_crash_left_behind_costs_nothing(saved, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            saved.save("last", state(3))
    said = []
    assert recover(saved, said.append)["epoch"] == 3 and said == []


def as_version_0_1_wrote_it(checkpoints):
    """Replaces `last` by a file without a seal, which the manifest knows."""
    path = checkpoints.path("last")
    torch.save({"format": 1, **state(2)}, path)
    facts = {"sha256": [hashlib.sha256(path.read_bytes()).hexdigest(), "of the one before"], "epoch": 2}
    checkpoints.manifest_path.write_text(json.dumps({"last.pt": facts}))


def test_a_file_of_an_earlier_version_is_known_by_the_manifest(saved, monkeypatch):
    as_version_0_1_wrote_it(saved)
    assert saved.load("last")["epoch"] == 2
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write_manifest", lambda *_: None)
        saved.save("last", state(3))
    assert saved.load("previous")["epoch"] == 2  # though it is listed as `last`
    as_version_0_1_wrote_it(saved)
    saved.save("last", state(3))
    assert [saved.load(name)["epoch"] for name in ("last", "previous")] == [3, 2]
    saved.manifest_path.unlink()
    with pytest.raises(DataError, match="previous.pt: damaged"):
        saved.load("previous")


def test_without_one_whole_checkpoint_the_first_error_is_told(saved):
    for name in ("last", "best"):
        saved.path(name).write_bytes(b"x")
    with pytest.raises(DataError, match="last.pt: damaged"):
        recover(saved, print)
    assert len(saved.present()) == 2


def measured(epoch, top1, best, steps=0):
    rows = [{"val_top1": 1.0}] * (epoch - 1) + [{"val_top1": top1}]
    return {**state(epoch), "step_in_epoch": steps, "rows": rows, "best": best}


@pytest.mark.parametrize(("last", "best"), [
    (measured(3, 8.0, 30.0), 9.0),  # previous stands in
    (measured(3, 10.0, 30.0), 10.0),
    (measured(2, 9.0, 30.0, steps=5), 9.0),  # nothing measured these weights
])
def test_a_lost_best_is_replaced_by_the_best_that_is_left(tmp_path, last, best):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", measured(1, 30.0, 30.0))
    checkpoints.save("last", measured(2, 9.0, 30.0))
    checkpoints.save("last", last)
    checkpoints.path("best").unlink()
    said = []
    found = recover(checkpoints, said.append)
    assert (found["epoch"], found["best"]) == (last["epoch"], best) and len(said) == 1
    assert checkpoints.load("best")["rows"][-1]["val_top1"] == best
    assert recover(checkpoints, said.append)["best"] == best and len(said) == 1


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
    model = build_model("resnet18", "origin", 10)
    needed = disk_bytes(config, model)
    assert needed == 6 * 2 * 4 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(needed, 1, needed - 1))
    with pytest.raises(DataError, match=r"511\.9 MiB.* choose another --out"):
        RunFolder(tmp_path / "runs" / "1", resumed=False).claim(config, needed)
    assert not list(tmp_path.iterdir())
    RunFolder(tmp_path, resumed=True).claim(config, needed)
