"""Saving beside the training: what is written, in which order, and what the loop gets to know of it."""

import threading
from types import SimpleNamespace

import pytest
import torch

from fasttrain.config import RunConfig
from fasttrain.errors import ConfigError, DataError
from fasttrain.train import saver as savers
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.saver import Saver, to_host


class Disk:
    """Stands for the checkpoints: notes what is written, and holds writers up until `open` is set."""

    def __init__(self):
        self.written, self.under_way, self.open = [], threading.Semaphore(0), threading.Event()

    def save(self, names, state):
        self.under_way.release()
        assert self.open.wait(10)
        self.written.append((names, state["epoch"]))


def held_up(every=1):
    """A saver that writes epoch 1 as `best` and `last` and is held up in that."""
    saver = Saver(Disk(), every)
    saver.save(("best", "last"), {"epoch": 1})
    assert saver.checkpoints.under_way.acquire(timeout=10)
    return saver


def written(saver):
    saver.checkpoints.open.set()
    saver.wait()
    return saver.checkpoints.written


def test_both_names_of_a_state_are_written_at_once():
    assert written(held_up()) == [(("best", "last"), 1)]


def test_a_newer_last_replaces_one_that_waits():
    saver = held_up()
    for epoch in (2, 3, 4):
        saver.save(("last",), {"epoch": epoch})
    assert written(saver) == [(("best", "last"), 1), (("last",), 4)]


def test_a_newer_last_leaves_a_best_that_waits():
    saver = held_up()
    saver.save(("best", "last"), {"epoch": 2})
    saver.save(("last",), {"epoch": 3})
    assert written(saver) == [(("best", "last"), 1), (("best",), 2), (("last",), 3)]


def test_one_state_at_a_time_is_written_and_no_thread_stays():
    saver = held_up()
    thread = saver.thread
    saver.save(("last",), {"epoch": 2})
    assert saver.thread is thread and not saver.checkpoints.under_way.acquire(blocking=False)
    assert len(written(saver)) == 2 and saver.thread is None and not thread.is_alive()
    saver.save(("last",), {"epoch": 3})
    assert written(saver)[-1] == (("last",), 3)


class Full:
    def save(self, names, state):
        raise DataError("no space left")


@pytest.mark.parametrize("call", [lambda saver: saver.wait(), lambda saver: saver.save(("last",), {"epoch": 2})])
def test_an_error_of_the_thread_is_raised_in_the_loop_once(call):
    saver = Saver(Full(), 1)
    saver.save(("last",), {"epoch": 1})
    saver.thread and saver.thread.join()
    with pytest.raises(DataError, match="no space left"):
        call(saver)
    saver.wait()


def test_what_is_written_is_the_state_as_it_was(tmp_path):
    weights, rows = torch.zeros(1000), [{"epoch": 1}]
    saver = Saver(Checkpoints(tmp_path), 1)
    saver.save(("last",), {"epoch": 1, "model": {"w": weights}, "rows": rows})
    weights.fill_(1)
    rows.append({"epoch": 2})
    saver.wait()
    state = saver.checkpoints.load("last")
    assert not state["model"]["w"].any() and state["rows"] == [{"epoch": 1}]


def test_a_copy_keeps_layout_attributes_and_what_is_shared():
    net = torch.nn.BatchNorm2d(3)
    image, rate = torch.rand(1, 3, 4, 4).to(memory_format=torch.channels_last), torch.zeros(())
    state = {"model": net.state_dict(), "image": image, "groups": [{"lr": rate}, {"lr": rate}], "facts": ("a", 1)}
    copied = to_host(state)
    assert copied["model"]._metadata == state["model"]._metadata and list(copied["model"]) == list(state["model"])
    assert torch.equal(copied["image"], image) and copied["image"].stride() == image.stride()
    assert copied["image"].data_ptr() != image.data_ptr() and copied["facts"] == ("a", 1)
    assert copied["groups"][0]["lr"] is copied["groups"][1]["lr"] and copied["groups"][0]["lr"] is not rate


def test_equal_states_have_equal_files(tmp_path):
    for name in ("one", "two"):
        saver = Saver(Checkpoints(tmp_path / name), 1)
        net = torch.nn.Linear(3, 3)
        torch.nn.init.ones_(net.weight), torch.nn.init.zeros_(net.bias)
        saver.save(("last", "best"), {"epoch": 1, "model": net.state_dict(), "groups": [{"lr": net.weight}] * 2})
        saver.wait()
    files = [(tmp_path / name / f"{kind}.pt").read_bytes() for name in ("one", "two") for kind in ("last", "best")]
    assert len(set(files)) == 1


@pytest.fixture
def clock(monkeypatch):
    """The time that savers see; a thread takes one second of the processor."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now, thread_time=lambda: 1.0)
    monkeypatch.setattr(savers, "time", clock)
    return clock


@pytest.mark.parametrize(("every", "due"), [(1, [1, 2, 3, 4, 5, 6]), (3, [3, 6]), ("4m", [1, 6]),
                                            ("auto", [1, 3, 5]), ("0m", [1, 2, 3, 4, 5, 6])])
def test_when_a_save_is_due(clock, every, due):
    saver, found = Saver(Disk(), every), []
    saver.checkpoints.open.set()
    for epoch in range(1, 7):
        if saver.due(epoch):
            found.append(epoch)
            saver.save(("last",), {"epoch": epoch})
            saver.wait()
        clock.now += 55
    assert found == due and [epoch for _, epoch in saver.checkpoints.written] == due


def test_auto_lets_a_better_state_wait_until_there_is_time_to_write_it(clock):
    saver = Saver(Disk(), "auto")
    saver.checkpoints.open.set()
    saver.save(("best", "last"), {"epoch": 1})
    saver.wait()
    clock.now += 99
    saver.save(("best", "last"), {"epoch": 2})
    assert saver.thread is None
    clock.now += 1
    saver.save(("last",), {"epoch": 3})
    saver.wait()
    assert saver.checkpoints.written == [(("best", "last"), 1), (("best",), 2), (("last",), 3)]
    saver.save(("best", "last"), {"epoch": 4})
    assert written(saver)[-1] == (("best", "last"), 4)  # whoever waits does not wait for that time


@pytest.mark.parametrize(("given", "value"), [("auto", "auto"), (3, 3), ("3", 3), ("5m", "5m"), ("0.50m", "0.5m")])
def test_save_every_is_epochs_or_minutes(given, value):
    config = RunConfig(save_every=given)
    assert config.save_every == value and RunConfig(**config.to_dict()) == config


@pytest.mark.parametrize("given", [0, -1, 1.5, "m", "-1m", "5s", "nanm", True, ""])
def test_other_intervals_are_refused(given):
    with pytest.raises(ConfigError, match="save_every"):
        RunConfig(save_every=given)
