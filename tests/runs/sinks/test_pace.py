import pytest

from fasttrain.runs.sinks.pace import Pace
from fasttrain.train.events import Progress

STEPS, BATCH, EPOCHS = 50, 10, 4


def train(pace, epoch, upto, warm_up=30.0, step_seconds=0.2, start=0):
    """Steps of equal length after a first one that took `warm_up` longer."""
    for step in range(start + 1, upto + 1):
        done = step - start
        seconds = warm_up + done * step_seconds
        pace.update(Progress("train", epoch, EPOCHS, step, STEPS, done * BATCH, seconds, done * 0.02))


def test_the_first_forecast_comes_after_ten_steps_and_leaves_the_first_step_out():
    pace = Pace(val_images=300)
    train(pace, 1, 9)
    assert not pace.known()
    train(pace, 1, 10)
    assert pace.known()
    validation = 300 / (BATCH / 0.2) / 3
    assert pace.images_per_second() == pytest.approx(BATCH / 0.2)
    assert pace.epoch_left() == pytest.approx(40 * 0.2 + validation)
    assert pace.run_left() == pytest.approx(40 * 0.2 + validation + 3 * (50 * 0.2 + validation))


def test_an_epoch_entered_in_its_middle_is_measured_from_there():
    pace = Pace(val_images=0)
    train(pace, 1, 40, start=20)
    assert pace.images_per_second() == pytest.approx(BATCH / 0.2)
    assert pace.epoch_left() == pytest.approx(10 * 0.2)


def test_while_validating_the_rest_of_the_epoch_is_the_rest_of_the_validation():
    pace = Pace(val_images=300)
    train(pace, 1, STEPS)
    pace.update(Progress("val", 1, EPOCHS, 4, 10, 40, 2.0, 0.0))
    assert pace.epoch_left() == pytest.approx(6 * 0.5)
    assert pace.run_left() > 3 * STEPS * 0.2


def test_a_measured_epoch_replaces_the_guess(monkeypatch):
    clock = iter([1000.0, 1017.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    pace = Pace(val_images=10**9)
    train(pace, 1, STEPS, warm_up=0.0)  # its first step ends at 1000.0, 0.2 s after the epoch began
    pace.end_epoch()
    train(pace, 2, 25, warm_up=0.0)
    assert pace.epoch_total() == pytest.approx(17.2)
    assert pace.epoch_left() == pytest.approx(25 * 0.2 + 17.2 - STEPS * 0.2)


def test_the_forecast_knows_that_larger_images_take_longer():
    pace = Pace(val_images=0, sizes=(32, 64))
    for step in range(1, 21):
        pace.update(Progress("train", 1, 2, step, 20, step * BATCH, step * 1.0, 0.0))
    assert pace.run_left() == pytest.approx(20 * 4)  # four times the pixels
    pace.update(Progress("train", 2, 2, 1, 20, BATCH, 4.0, 0.0))
    assert pace.run_left() == pytest.approx(19 * 4)
