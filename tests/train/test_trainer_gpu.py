"""The trainer on a real GPU: resumed exactly, never waiting inside an epoch."""

import pytest
import torch

from fasttrain.train.compile import Captured
from tests.train.test_trainer import assert_same_end, make_trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]


@pytest.fixture
def deterministic(monkeypatch):
    """Kernels that give the same bits each time, for what the trainers made by the test do after `fix`."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def fix():
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        torch.use_deterministic_algorithms(True, warn_only=True)

    yield fix
    torch.backends.cudnn.deterministic = False
    torch.use_deterministic_algorithms(False)


def make(folder, deterministic=lambda: None, **changes):
    """A trainer of the head that draws random numbers, captured."""
    torch._dynamo.reset()
    settings = {"device": "cuda", "precision": "bf16", "compile": "reduce-overhead", "head": "dropout",
                "train_images": 64, "batch_size": 16, "size": 64, **changes}
    trainer = make_trainer(folder, **settings)
    deterministic()  # after the runtime has set its own switches
    return trainer


@pytest.mark.real_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp32", "fp16"])
def test_a_resumed_run_ends_as_the_whole_one_to_the_bit(tmp_path, deterministic, precision):
    whole = make(tmp_path / "whole", deterministic, precision=precision)
    whole.fit()
    assert isinstance(whole.step.launch_train[whole.step.size], Captured)
    first = make(tmp_path / "cut", deterministic, precision=precision)
    first.config = first.config.replace(epochs=1)
    first.fit()
    rest = make(tmp_path / "cut", deterministic, precision=precision)
    rest.load_state_dict(rest.checkpoints.load("last"))
    rest.fit()
    assert_same_end(whole, rest)


@pytest.mark.parametrize("loader", ["resident", "constant"])
def test_an_epoch_waits_for_nothing_between_its_first_step_and_its_end(tmp_path, loader):
    trainer = make(tmp_path, loader=loader, augment={"crop_padding": 2, "flip": "random"})
    trainer.warm_up()
    for batches, step in ((trainer.train_loader, lambda batch: trainer.step.train(batch, 0.01, 1, 1)),
                          (trainer.val_loader, trainer.step.evaluate)):
        batches = iter(batches)
        step(next(batches))
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch in batches:
                step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
