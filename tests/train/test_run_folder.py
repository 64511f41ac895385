"""Which folder a run gets, and that one which was refused leaves nothing behind."""

import pytest
import torch

from fasttrain import RunConfig, load_run, run
from fasttrain.data.loaders.resident import ResidentLoader
from fasttrain.errors import ConfigError
from tests.data.trees import image_folder

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
