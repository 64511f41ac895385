"""A run as an object: its rows as a table, its callbacks."""

import pytest
import torch

from fasttrain import RunConfig, Sink, load_run, run
from fasttrain.errors import ConfigError

CONFIG = RunConfig(data="synthetic:classes=3,train=4,val=2,size=32", image_size=32, epochs=2, batch_size=4,
                   precision="fp32")


class Listener(Sink):
    """Keeps what it hears, and fails when told."""

    def __init__(self, fails=False):
        self.heard, self.fails = [], fails

    def start(self, start):
        self.heard.append(start.train_images)

    def epoch(self, epoch):
        if self.fails:
            raise RuntimeError("on purpose")
        self.heard.append(epoch.row["epoch"])

    def finish(self, finish):
        self.heard.append(finish.status)


@pytest.fixture(scope="module")
def listened(tmp_path_factory):
    listeners = [Listener(fails=True), Listener()]
    done = run(CONFIG.replace(out=str(tmp_path_factory.mktemp("run") / "1")), callbacks=listeners)
    return done, listeners


def test_callbacks_hear_all_and_stop_nothing(listened, capsys):
    done, (failing, listener) = listened
    assert listener.heard == [12, 1, 2, "done"] and failing.heard == [12]
    assert (done.folder / "metrics.jsonl").exists() and (done.folder / "results.png").exists()


def test_the_rows_as_a_table(listened, monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = load_run(listened[0].folder).frame()
    assert isinstance(frame, pandas.DataFrame) and list(frame.index) == [1, 2]
    assert frame.loc[2, "val_top1"] == listened[0].final["val_top1"]
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ConfigError, match="-m pip install pandas"):
        listened[0].frame()


def test_its_network_has_the_best_weights(listened):
    done, _ = listened
    model = load_run(done.folder).model()
    kept = torch.load(done.folder / "checkpoints" / "best.pt", weights_only=True)["model"]
    assert not model.training and all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())
