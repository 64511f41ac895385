"""How many threads a run gets, keeps and changes."""

import signal

import pytest
import torch
import yaml

from fasttrain import RunConfig, load_run, run
from fasttrain.cli.main import main
from fasttrain.config import fit_to_data
from fasttrain.data.batch import LoaderSpec
from fasttrain.errors import ConfigError, Interrupted
from fasttrain.runtime import resolve
from fasttrain.train import build
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.events import Progress
from fasttrain.train.slowdown import Slowdown
from fasttrain.train.threads import candidates, fastest_threads, race
from tests.data.trees import image_folder
from tests.helpers import make_split
from tests.train.test_trainer import KillAt, fit, make_trainer


@pytest.fixture(autouse=True)
def one_thread_again():
    yield
    torch.set_num_threads(1)


@pytest.fixture
def config(tmp_path):
    """A run of two epochs of two steps."""
    names = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in "ab" for number in range(4)]
    data = image_folder(tmp_path / "data", names, (32, 32))
    return RunConfig(data=str(data), image_size=32, batch_size=4, epochs=2, device="cpu", precision="fp32",
                     out=str(tmp_path / "run"))


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", 10**6])
def test_what_is_no_number_of_threads_is_refused(value, capsys):
    with pytest.raises(ConfigError, match="^threads: "):
        RunConfig(threads=value)
    assert main(["run", "--threads", str(value)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("most, expected", [(1, [1]), (2, [2, 1]), (3, [3, 2, 1]), (6, [6, 5, 3, 1]),
                                            (16, [16, 15, 8, 4, 2, 1])])
def test_the_candidates(most, expected):
    assert candidates(most) == expected


@pytest.mark.parametrize("cost, best, untried", [
    ({4: 1.0, 3: 1.3, 2: 2.1, 1: 4.0}, 4, {1}), ({4: 20.0, 3: 1.3, 2: 2.0, 1: 3.9}, 3, set()),
    ({4: 20.0, 3: 15.0, 2: 8.0, 1: 1.0}, 1, set()),
])
def test_the_fastest_candidate_wins_and_the_hopeless_are_not_waited_for(cost, best, untried):
    asked = []
    medians = race(list(cost), lambda count: asked.append(count) or cost[count])
    assert min(medians, key=medians.get) == best
    assert set(cost) - set(asked) == untried
    assert all(asked.count(count) == 1 for count in cost if cost[count] > 2 * cost[best] and count in asked)


def test_one_slow_step_does_not_decide():
    times = {2: iter([1.4, 0.9, 0.9]), 1: iter([1.0, 1.0, 1.0])}
    assert race([2, 1], lambda count: next(times[count])) == {2: 0.9, 1: 1.0}


def test_trying_out_takes_real_steps_with_each_number():
    split = make_split(8, 32)
    config = fit_to_data(RunConfig(batch_size=4, image_size=32, device="cpu", precision="fp32", threads=2), len(split))
    best, why = fastest_threads(config, resolve(config), split)
    assert best in (1, 2) and why.startswith(f"threads {best}: ") and "2: " in why


def test_a_number_is_kept_in_configuration_checkpoint_and_rows(config, tmp_path):
    result = run(config.replace(threads=2))
    assert torch.get_num_threads() == 2
    assert result.config.threads == load_run(result.folder).config.threads == 2
    assert [row["threads"] for row in load_run(result.folder).rows] == [2, 2]
    assert Checkpoints(result.folder / "checkpoints").load("last")["config"]["threads"] == 2


@pytest.mark.parametrize("wanted, found", [(None, 1), ("auto", 3)])
def test_the_default_and_auto_become_a_number(wanted, found, config, monkeypatch):
    monkeypatch.setattr(build, "fastest_threads", lambda *_: (3, "threads 3: tried out"))
    result = run(config.replace(threads=wanted))
    assert yaml.safe_load((result.folder / "config.yaml").read_text())["threads"] == found
    assert {row["threads"] for row in result.rows} == {found}


def stop_after_first_epoch(config):
    with pytest.raises(Interrupted):
        run(config, console=KillAt(2, signal.SIGTERM))


@pytest.mark.parametrize("wanted", [None, "auto", 2])
def test_a_resumed_run_takes_its_number_without_a_word(wanted, config, monkeypatch, capsys):
    monkeypatch.setattr(build, "fastest_threads", lambda *_: pytest.fail("tried again"))
    stop_after_first_epoch(config.replace(threads=2))
    result = run(config.replace(threads=wanted, resume="auto"))
    assert {row["threads"] for row in result.rows} == {2} and torch.get_num_threads() == 2
    assert "warning" not in "".join(capsys.readouterr())


def test_another_number_is_one_warning_and_becomes_the_runs_own(config, capsys):
    stop_after_first_epoch(config.replace(threads=2))
    capsys.readouterr()
    result = run(config.replace(threads=1, resume="auto"))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: threads: ") and " 2 " in line and " 1" in line
    assert [row["threads"] for row in result.rows] == [2, 1]
    assert load_run(result.folder).config.threads == 1


def test_a_run_that_noted_no_number_resumes_with_any(config, capsys):
    stop_after_first_epoch(config)
    folder = load_run(config.out).folder
    noted = yaml.safe_load((folder / "config.yaml").read_text())
    del noted["threads"]
    (folder / "config.yaml").write_text(yaml.safe_dump(noted))
    capsys.readouterr()
    assert run(config.replace(threads=2, resume="auto")).status == "done"
    assert "warning" not in capsys.readouterr().err
    assert yaml.safe_load((folder / "config.yaml").read_text())["threads"] == 2


def test_an_epoch_that_is_resumed_in_its_middle_keeps_its_number(tmp_path):
    killed = make_trainer(tmp_path, [KillAt(2, signal.SIGTERM)], threads=2)
    with pytest.raises(Interrupted):
        fit(killed)
    resumed = make_trainer(tmp_path, threads=1)
    resumed.load_state_dict(resumed.checkpoints.load("last"))
    assert [row["threads"] for row in fit(resumed)] == [2, 1]


def test_more_threads_than_cores_are_a_warning(config, monkeypatch, capsys):
    monkeypatch.setattr(build, "cores", lambda: 1)
    assert run(config.replace(threads=2, epochs=1)).status == "done"
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: threads: 2 ")


def test_loaders_share_the_threads_among_ranks():
    split = make_split(8)
    assert [LoaderSpec(split, 4, True, threads=6, world_size=n).workers for n in (1, 4, 8)] == [6, 1, 1]
    assert make_trainer("unused", threads=2).train_loader.spec.threads == 2


def steps(slowdown, seconds, waits=0.0, epoch=1, size=64):
    """Steps of these lengths; returns what was said."""
    clock, said = 0.0, []
    for number, each in enumerate(seconds, 1):
        clock += each
        progress = Progress("train", epoch, 9, number, len(seconds), number, clock, clock * waits)
        said.append(slowdown.update(progress, size))
    return [line for line in said if line]


@pytest.mark.parametrize("later, lines", [(1.0, 0), (2.0, 0), (9.0, 1)])
def test_steps_that_become_several_times_slower_are_told_once(later, lines):
    said = steps(Slowdown(2, "runs/x/1"), 40 * [1.0] + 60 * [later])
    assert len(said) == lines


def test_a_slow_first_step_larger_images_and_short_hiccups_are_no_slowdown():
    slowdown = Slowdown(2, "runs/x/1")
    assert steps(slowdown, [90.0] + 30 * [1.0]) == []
    assert steps(slowdown, 30 * [4.5], epoch=2, size=128) == []
    assert steps(Slowdown(2, "runs/x/1"), 30 * [0.001] + 30 * [0.01]) == []


@pytest.mark.parametrize("load, threads, waits, says", [
    (4.0, 2, 0, "--resume runs/x/1 --threads 1"), (4.0, 1, 0, "end them"), (0.4, 2, 0, "throttled"),
    (0.4, 2, 0.9, "waiting for data"),
])
def test_the_line_names_the_reason_and_what_to_do(load, threads, waits, says, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("fasttrain.train.slowdown.cores", lambda: 2)
    [line] = steps(Slowdown(threads, "runs/x/1"), 20 * [1.0] + 20 * [9.0], waits)
    assert says in line and "\n" not in line
    assert ("--threads" in line) == (load > 2 and threads > 1)


def test_the_same_number_gives_the_same_bits(tmp_path):
    ends = []
    for folder in ("a", "b"):
        trainer = make_trainer(tmp_path / folder, threads=2, size=64, channels_last=True)
        fit(trainer)
        ends.append(trainer.step.model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
