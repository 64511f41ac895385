"""A finished run on drawn data, for every test that needs a checkpoint."""

import pytest

from fasttrain import RunConfig, run
from fasttrain.runs.sinks.files import FilesSink

DATA = "synthetic:classes=3,train=8,val=5,size=32"


@pytest.fixture(scope="session")
def finished(tmp_path_factory, cache):
    """The `Run` of two epochs; its validation images do not fill the last batch."""
    folder = tmp_path_factory.mktemp("run") / "run"
    config = RunConfig(arch="resnet18", head="dropout", data=DATA, image_size=32, epochs=2, batch_size=4, lr=0.02,
                       device="cpu", precision="fp32", compile="off", out=str(folder))
    folder.mkdir()
    return run(config, [FilesSink(folder)])


@pytest.fixture(scope="session")
def averaged(tmp_path_factory, cache):
    """The `Run` of one epoch that measured averaged weights, and mirror images too."""
    folder = tmp_path_factory.mktemp("averaged") / "run"
    config = RunConfig(arch="resnet18", data=DATA, image_size=32, epochs=1, batch_size=8, lr=0.02, device="cpu",
                       precision="fp32", compile="off", ema=0.9, tta=True, out=str(folder))
    folder.mkdir()
    return run(config, [FilesSink(folder)])
