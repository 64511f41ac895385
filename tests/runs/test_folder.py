"""Which folder a run gets, and that one which was refused leaves nothing behind."""

import contextlib
import os
import signal

import pytest
import torch

from fasttrain import RunConfig, load_run, run
from fasttrain.cli.main import main
from fasttrain.data.loaders.resident import ResidentLoader
from fasttrain.errors import ConfigError, Interrupted
from fasttrain.runs import folder as run_folder
from fasttrain.runs.folder import refuse_taken
from fasttrain.train.events import Sink
from fasttrain.train.schedules import learning_rate
from tests.data.trees import image_folder, official

NAMES = [f"{split}/{name}/{number}.png" for split in ("train", "val") for name in "ab" for number in range(2)]


@pytest.fixture
def config(tmp_path):
    """A tiny run on images that the loaders which decode refuse, with `out` where nothing is yet."""
    data = image_folder(tmp_path / "data", NAMES, (32, 32))
    return RunConfig(data=str(data), image_size=32, batch_size=4, epochs=1, device="cpu", precision="fp32",
                     out=str(tmp_path / "run"))


def test_a_refused_run_leaves_its_folder_to_the_corrected_one(config, tmp_path):
    with pytest.raises(ConfigError, match="--loader resident"):
        run(config.replace(loader="jpeg"), sinks=[])
    assert not (tmp_path / "run").exists()
    assert load_run(run(config).folder).status == "done"
    with pytest.raises(ConfigError, match="already holds a run"):
        run(config)


def test_files_that_were_there_before_a_refused_run_stay(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    with pytest.raises(ConfigError):
        run(config.replace(loader="jpeg"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_no_room_for_the_data_on_the_device_is_one_line(config, monkeypatch, tmp_path):
    def full(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(ResidentLoader, "__init__", full)
    with pytest.raises(ConfigError, match="smaller --batch-size"):
        run(config)
    assert not (tmp_path / "run").exists()


class KillDuring(Sink):
    """Sends this process a SIGTERM when the run starts, after its epochs or when it finishes."""

    def __init__(self, event):
        self.event = event

    def start(self, info):
        self.send("start")

    def epoch(self, row):
        self.send("epoch")

    def finish(self, summary):
        self.send("finish")

    def send(self, event):
        if event == self.event:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_while_a_run_is_set_up_saves_after_its_first_step(config, tmp_path):
    config = config.replace(epochs=2, batch_size=2)
    with pytest.raises(Interrupted, match=r"after epoch 0 \+ 1 steps") as caught:
        run(config, console=KillDuring("start"))
    assert caught.value.exit_code == 75
    assert run(config.replace(resume="auto")).status == "done"


def test_a_signal_while_the_last_files_are_written_cuts_none_off(config):
    assert (run(config, console=KillDuring("finish")).folder / "card.md").exists()


def test_a_run_that_ended_in_its_first_checkpoint_starts_anew(config, tmp_path):
    run(config)
    for file in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        file.unlink()  # the manifest comes first
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    assert run(config.replace(resume="auto")).status == "done"


def test_rows_that_the_file_lost_come_back_from_the_checkpoint(config, tmp_path):
    config = config.replace(epochs=3, batch_size=2)
    with pytest.raises(Interrupted):
        run(config, console=KillDuring("epoch"))
    with open(tmp_path / "run" / "metrics.jsonl", "r+") as file:
        file.truncate(len(file.read()) - 3)
    resumed = run(config.replace(resume="auto"))
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3]


@pytest.mark.parametrize("epochs_before", [1, 2])  # stopped halfway; done
def test_a_run_is_made_longer(config, tmp_path, epochs_before):
    config, listener = config.replace(epochs=2, batch_size=2), KillDuring("epoch" if epochs_before == 1 else "never")
    with contextlib.suppress(Interrupted):
        run(config, console=listener)
    before = load_run(tmp_path / "run").rows
    assert len(before) == epochs_before
    command = ["run", "--resume", str(tmp_path / "run")]
    assert main([*command, "--epochs", "4"]) == 0
    longer = load_run(tmp_path / "run")
    assert longer.status == "done" and longer.rows[:epochs_before] == before
    wanted = config.replace(epochs=4, threads=longer.config.threads)
    assert longer.config == wanted.replace(lr=longer.config.lr)
    assert [row["lr"] for row in longer.rows[epochs_before:]] == [
        learning_rate(longer.config, 2 * epoch + 1, 2) for epoch in range(epochs_before, 4)]
    assert main([*command, "--epochs", "3"]) == 2 and main([*command, "--epochs", "5", "--seed", "1"]) == 2
    assert load_run(tmp_path / "run").rows == longer.rows and load_run(tmp_path / "run").config == longer.config


def test_of_two_that_choose_the_same_number_one_gets_the_next(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config.replace(out=None)
    first = run_folder.claimed(config, int)
    numbers = iter([first.path, *[first.path.with_name("2")] * 2])
    monkeypatch.setattr(run_folder, "next_number", lambda parent: next(numbers))
    second = run_folder.claimed(config, int)
    assert (first.path.name, second.path.name) == ("1", "2")
    with pytest.raises(ConfigError, match="another process"):
        run_folder.claimed(config.replace(out=str(second.path), resume="auto"), int)
    for folder in (first, second):
        folder.release()
        assert not folder.path.exists()


def test_a_folder_of_images_is_no_run_folder(tmp_path):
    data = official(tmp_path)
    for out in (data, data / "train" / "run", data / "val" / "deep" / "run"):
        for given in (data, data.parent):
            with pytest.raises(ConfigError, match="is a folder of images"):
                refuse_taken(RunConfig(data=str(given), out=str(out)))
    for out in (data.parent / "train" / "1", data / "runs" / "1", tmp_path):
        refuse_taken(RunConfig(data=str(data), out=str(out)))
