"""What processes tell each other, and how they fail: each test in real ones, over gloo."""

import os
import socket
import time
from datetime import timedelta

import pytest
import torch

from fasttrain import RunConfig
from fasttrain.errors import ConfigError, DataError, FasttrainError, PeerLost, Silent
from fasttrain.processes import ALONE, joined
from tests.ranks import run_ranks

CONFIG = RunConfig(device="cpu")


def talk(folder):
    with joined(CONFIG) as processes:
        total, most = torch.tensor([processes.rank + 1.0]), torch.tensor([-processes.rank])
        processes.sum(total)
        processes.max(most)

        def build():
            (folder / str(processes.rank)).write_text(str(time.monotonic_ns()))
            return processes.rank

        return (total.item(), most.item(), processes.gather(torch.tensor([processes.rank, 7])).tolist(),
                processes.all(processes.rank), processes.share(f"from {processes.rank}"), processes.in_turn(build))


def test_what_processes_tell_each_other(tmp_path):
    results = run_ranks(3, talk, tmp_path)
    assert [result[:5] for result in results] == [(6.0, 0, [[0, 7], [1, 7], [2, 7]], [0, 1, 2], "from 0")] * 3
    assert [result[5] for result in results] == [0, 1, 2]
    first, *others = (int((tmp_path / str(rank)).read_text()) for rank in range(3))
    assert first < min(others)


def test_one_process_tells_nobody_anything(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(CONFIG) as processes:
        assert processes is ALONE and processes.first
    tensor = torch.ones(2)
    ALONE.sum(tensor)
    ALONE.max(tensor)
    assert tensor.tolist() == [1, 1] and ALONE.gather(tensor).tolist() == [[1, 1]]
    assert (ALONE.all(3), ALONE.share(4), ALONE.together(lambda: 5), ALONE.in_turn(lambda: 6)) == ([3], 4, 5, 6)
    assert not torch.distributed.is_initialized()


def fail_on_one(failing):
    def attempt():
        if processes.rank in failing:
            raise DataError(f"broken on {processes.rank}")

    with joined(CONFIG) as processes:
        try:
            processes.together(attempt)
        except FasttrainError as error:
            return type(error), str(error), error.exit_code


def test_an_error_of_some_is_told_once_and_ends_all():
    quiet = (Silent, "", 3)
    assert run_ranks(3, fail_on_one, (1, 2)) == [quiet, (DataError, "broken on 1", 3), quiet]


def join_with(changes):
    config = CONFIG.replace(**changes[int(os.environ["RANK"])])
    try:
        with joined(config):
            pass
    except FasttrainError as error:
        return error.exit_code, str(error)


def test_processes_of_different_settings_do_not_begin():
    told = (2, "process 1 has lr 0.2, process 0 has 0.1: start all with the same command and the same fasttrain")
    assert run_ranks(2, join_with, [{"lr": 0.1}, {"lr": 0.2}]) == [told, (2, "")]


def lose_the_other():
    with joined(CONFIG) as processes:
        if processes.rank == 1:
            os._exit(0)
        with pytest.raises(PeerLost, match="another process of this run ended") as told:
            processes.sum(torch.ones(1))
        os._exit(0 if "\n" not in str(told.value) else 1)


def test_the_death_of_a_peer_is_one_line(capfd):
    with pytest.raises(AssertionError, match="ended without a word"):
        run_ranks(2, lose_the_other)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_port_of_another_program_is_an_error(monkeypatch, rank):
    """It accepts connections and says nothing, as any server may."""
    monkeypatch.setattr("fasttrain.processes.STORE", timedelta(seconds=1))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for name, value in {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2,
                            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} is held by another program"), joined(CONFIG):
            pass


@pytest.mark.parametrize("name, value", [("RANK", "first"), ("WORLD_SIZE", "-2"), ("MASTER_ADDR", None)])
def test_variables_that_torchrun_would_not_set(monkeypatch, name, value):
    for variable in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(variable, "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    if value:
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name), joined(CONFIG):
        pass
