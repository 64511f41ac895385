"""`patience`: a run that gets no better is done, says so, and goes on only when it is made longer."""

import pytest

from fasttrain import RunConfig, load_run, run
from fasttrain.errors import Interrupted
from fasttrain.runs.folder import choose
from fasttrain.study.study import status_of
from fasttrain.train import metrics
from fasttrain.train.events import Sink
from fasttrain.train.rows import epochs_without_gain
from fasttrain.train.status import DONE
from tests.models.test_own import EXAMPLE, Stop


@pytest.fixture
def scores(monkeypatch):
    """Sets the validation top-1 of the epochs to come."""
    real, left = metrics.means, []

    def means(sums, prefix):
        return {**real(sums, prefix), **({"val_top1": left.pop(0)} if prefix == "val" else {})}

    monkeypatch.setattr(metrics, "means", means)

    def give(*values):
        left[:] = map(float, values)
        return left

    return give


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return RunConfig(arch=f"{EXAMPLE}:small", data="synthetic:classes=3,train=8,val=4,size=32", image_size=32,
                     device="cpu", precision="fp32", compile="off", threads=1, batch_size=8, lr=0.1, epochs=6,
                     patience=2, augment={"crop_padding": 0})


def top1(rows):
    return [(row["val_top1"], row.get("stopped_early", False)) for row in rows]


@pytest.mark.parametrize("scores, stops, waited", [
    ([10], [], 0), ([10, 20, 20, 20], [], 2), ([30, 20, 25], [], 2), ([30, 20, 25, 26], [3], 1), ([30, 20, 31], [2], 0),
])
def test_epochs_count_from_the_best_or_from_where_the_run_was_stopped_before(scores, stops, waited):
    rows = [{"epoch": epoch, "val_top1": score, **({"stopped_early": True} if epoch in stops else {})}
            for epoch, score in enumerate(scores, 1)]
    assert epochs_without_gain(rows) == waited


def test_a_run_that_gets_no_better_is_done_and_says_so(config, scores, capsys):
    left = scores(10, 30, 20, 25, 90, 90)
    finished = run(config)
    assert top1(finished.rows) == [(10, False), (30, False), (20, False), (25, True)] and left == [90, 90]
    assert "stopped_early" not in finished.rows[0]
    read = load_run(finished.folder)
    assert read.status == DONE and read.rows == finished.rows and read.best["epoch"] == 2
    told = "ended after 4 of 6 epochs: 2 in a row without a higher top-1"
    assert told in (finished.folder / "card.md").read_text() and told in (finished.folder / "log.txt").read_text()
    assert told in capsys.readouterr().out
    assert status_of(config.replace(out=str(finished.folder))) == DONE
    again = run(config.replace(resume=str(finished.folder)))
    assert again.rows == finished.rows and load_run(finished.folder).rows == finished.rows
    settled = finished.config.replace(resume="auto", out=None)
    assert choose(settled).path.name == "2", "a run that is done is not the newest unfinished one"


def test_the_last_epoch_of_the_plan_is_no_early_one(config, scores):
    scores(30, 20, 25)
    assert top1(run(config.replace(epochs=3)).rows)[-1] == (25, False)


def test_a_longer_run_gets_its_patience_again_wherever_it_is_interrupted(config, scores):
    ends = []
    for interrupted in (False, True):
        scores(30, 20, 25, 26, 27, 90)
        first = run(config, sinks=[])
        longer = config.replace(resume=str(first.folder), epochs=8)
        if interrupted:
            with pytest.raises(Interrupted):
                run(longer, sinks=[MidEpoch()])
            with pytest.raises(Interrupted):
                run(longer, sinks=[Stop()])
        ends.append(run(longer, sinks=[]))
        assert top1(ends[-1].rows) == [(30, False), (20, False), (25, True), (26, False), (27, True)]
    assert [row["val_loss"] for row in ends[0].rows] == [row["val_loss"] for row in ends[1].rows]


class MidEpoch(Sink):
    """Sends the run a signal in the middle of its first epoch."""

    def progress(self, progress):
        if progress.phase == "train":
            Stop().epoch(None)
