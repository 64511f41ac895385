"""What feeds a run: a loader of its training images and one of its validation images."""

from __future__ import annotations

from fasttrain.config import RunConfig
from fasttrain.data import loaders
from fasttrain.data.batch import Batch, BatchLoader, LoaderSpec
from fasttrain.data.split import Split
from fasttrain.processes import Processes
from fasttrain.runtime import Runtime
from fasttrain.shares import slice_count


def build_loaders(config: RunConfig, runtime: Runtime, train: Split, val: Split,
                  processes: Processes) -> tuple[BatchLoader, BatchLoader, str, str]:
    """Returns both loaders, the name of their kind, and a line that says why it was chosen."""
    lead = bool(config.mix) and slice_count(config.shards, processes.size) > 1
    place = {"device": runtime.device, "threads": runtime.loader_threads, "rank": processes.rank,
             "world_size": processes.size}
    spec = LoaderSpec(train, config.batch_size, train=True, seed=config.seed, augment=config.augment,
                      drop_last=config.drop_last, lead=lead, **place)
    eval_spec = LoaderSpec(val, min(config.batch_size, len(val)), train=False, **place)
    name, note = loaders.choose(config.loader, spec)
    return loaders.build(name, spec), loaders.build(name, eval_spec), name, note


def batches_to_see(loader: BatchLoader, epoch: int) -> list[Batch]:
    """Returns a batch of each shape that an epoch has: its first one, and its last one if that is shorter."""
    batches = [batch_at(loader, epoch, index) for index in (0, len(loader) - 1)]
    return batches if len(batches[0].labels) != len(batches[1].labels) else batches[:1]


def batch_at(loader: BatchLoader, epoch: int, index: int) -> Batch:
    """Returns a batch of an epoch."""
    loader.set_epoch(epoch, index)
    return next(iter(loader))
