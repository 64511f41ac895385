"""The loaders under test, on each device that this machine has.

A loader whose backend is missing is skipped with the reason; FASTTRAIN_REQUIRE=dali,ffcv makes it fail instead.
"""

import os

import pytest
import torch

from fasttrain.data import loaders
from fasttrain.data.batch import LoaderSpec
from fasttrain.registry import LOADERS

REQUIRED = os.environ.get("FASTTRAIN_REQUIRE", "").split(",")
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.real_gpu])
DEVICES = ["cpu", *([CUDA] if torch.cuda.is_available() else [])]
REPEATS = "constant repeats one batch, the first of epoch 0"
NOT_FOR_CONSTANT = {
    "test_training_delivers_the_keyed_order_and_augmentation", "test_epochs_and_seeds_differ",
    "test_ranks_share_each_global_batch", "test_a_rank_without_samples_gets_empty_batches",
    "test_evaluation_shows_every_index_once_in_static_shapes", "test_starting_in_the_middle_continues_exactly",
    "test_a_batch_is_never_overwritten_under_its_user", "test_every_loader_trains_alike",
}


class Make:
    """Builds the loader `name` on `device` and closes all that it built. tolerance: gray levels off the reference."""

    def __init__(self, name, device):
        self.name, self.device, self.made = name, device, []
        self.tolerance = 8 if (name, device) == ("dali", "cuda") else 0  # nvJPEG is no libjpeg-turbo

    def __call__(self, split, batch_size, train=True, **options):
        spec = LoaderSpec(split, batch_size, train, device=torch.device(self.device), **options)
        self.made.append(loaders.build(self.name, spec))
        return self.made[-1]

    def close(self):
        while self.made:
            self.made.pop().close()


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture(params=LOADERS.names())
def make(request, device):
    """A `Make` for the loader under test."""
    if request.param == "constant" and request.node.originalname in NOT_FOR_CONSTANT:
        pytest.skip(REPEATS)
    reason = loaders.missing(request.param)
    if reason and request.param not in REQUIRED:
        pytest.skip(f"loader {request.param}: {reason}")
    make = Make(request.param, device)
    yield make
    make.close()
