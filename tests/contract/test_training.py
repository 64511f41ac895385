"""What is trained does not depend on who loads: equal batches, hence equal metrics, to the last bit."""

import functools

import pytest

from tests.train.test_trainer import comparable, make_trainer


@functools.cache
def metrics(loader, device, folder):
    """The rows of two epochs, without what measures time, speed or memory."""
    augment = {"crop_padding": 2, "flip": "random", "cutout": 5}
    trainer = make_trainer(folder, loader=loader, device=device, augment=augment)
    trainer.fit()
    return comparable(trainer.rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_every_loader_trains_alike(make, folder):
    if make.tolerance:
        pytest.skip("a GPU's JPEG decoder rounds differently")
    rows = metrics(make.name, make.device, folder / make.name)
    assert len(rows) == 2 and rows == metrics("resident", make.device, folder / "resident")
