"""From a configuration to everything that a run needs before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from fasttrain.config import RunConfig, fit_to_data
from fasttrain.cores import cores
from fasttrain.data.pack import open_splits
from fasttrain.data.split import Split
from fasttrain.errors import ConfigError
from fasttrain.models import build_model, new_network
from fasttrain.processes import ALONE, Processes
from fasttrain.runtime import Runtime, resolve
from fasttrain.shares import refuse_shares, slice_count
from fasttrain.train.checkpoint import Checkpoints, disk_bytes
from fasttrain.train.events import EventLog
from fasttrain.train.threads import fastest_threads
from fasttrain.train.trainer import Trainer
from fasttrain.train.weights import load_weights


@dataclass(frozen=True)
class Job:
    """A configuration fitted to the data and the machine.

    config: has numbers for batch size and learning rate; `settled` also for threads. runtime: has no `auto` left.
    train, val: the images. processes: those that share the run.
    """

    config: RunConfig
    runtime: Runtime
    train: Split
    val: Split
    processes: Processes = ALONE

    def settled(self, so_far: int | None = None, warn: Callable[[str], None] = print) -> Job:
        """Returns the job with a number of threads in its config: asked for, else that of the run so far, or by trying.

        so_far: of the run that is resumed; None for a new one. warn: gets a line about a number that is unwise.
        """
        wanted, runtime = self.config.threads, self.runtime
        if so_far and wanted in (None, "auto"):
            runtime = runtime.with_threads(so_far, f"threads {so_far}: as the run had so far")
        elif wanted == "auto" and runtime.device.type == "cpu":
            runtime = runtime.with_threads(*self.processes.share(fastest_threads(self.config, runtime, self.train)))
        if so_far not in (None, runtime.threads):
            warn(f"threads: the run had {so_far} so far and goes on with {runtime.threads}, so its weights will not be "
                 f"equal to the bit to those of a run with {so_far} throughout")
        if runtime.threads > cores():
            warn(f"threads: {runtime.threads} are more than the {cores()} cores that this process may use, which makes "
                 f"steps slower; use --threads {cores()} or auto")
        return replace(self, config=self.config.replace(threads=runtime.threads), runtime=runtime)

    def trainer(self, events: EventLog | None = None, checkpoints: Checkpoints | None = None,
                new: bool = True) -> Trainer:
        """Returns a Trainer that has not trained yet. Without `checkpoints` it cannot save; `new` see there."""
        return Trainer(self.config, self.runtime, self.train, self.val, checkpoints, events or EventLog(),
                       self.processes, new)

    def room(self) -> int:
        """Returns the bytes that the checkpoints of a new run take, once nothing speaks against its network.

        ConfigError or DataError for weights that it cannot start from, ConfigError for what it cannot freeze.
        """
        config = self.config
        with torch.device("meta"):
            model = new_network(config, self.train.num_classes)
        if config.weights:
            load_weights(model, config.weights)
        return disk_bytes(config, model)


def build(config: RunConfig, on_message: Callable[[str], None] | None = None, processes: Processes = ALONE) -> Job:
    """Opens the data and replaces every `auto`; `on_message` gets lines on what is being packed.

    Raises ConfigError for what this machine or the data cannot do, DataError for data that cannot be read.
    """
    refuse_shares(config, processes.size)
    runtime = resolve(config)
    if config.sync_bn and processes.size > 1:
        runtime = runtime.uncompiled("compile off: sync_bn talks to the other processes inside the network")
    train, val = open_splits(config, on_message)
    config = fit_to_data(config, len(train))
    refuse_shares(config, processes.size)
    refuse_batch_of_one(config, len(train), train.num_classes, processes.size)
    return Job(config, runtime, train, val, processes)


def refuse_batch_of_one(config: RunConfig, train_images: int, num_classes: int, processes: int = 1) -> None:
    """Raises ConfigError if a batch of the plan, or a slice of one, has one image where the last map has one pixel.

    BatchNorm needs two values of each channel to train.
    """
    slices = 1 if config.sync_bn else slice_count(config.shards, processes)
    last = 0 if config.drop_last else train_images % config.batch_size
    if config.sync_bn and 0 < last < processes:
        raise ConfigError(f"sync_bn: the last batch of {train_images:,} images has {last}, too few for {processes} "
                          "processes: choose another --batch-size, or --set drop_last=true")
    if config.batch_size >= 2 * slices and (last == 0 or last >= 2 * slices):
        return
    with torch.device("meta"):
        model = build_model(config.arch, config.head, num_classes, config.image_size, config.stem)
    for size in sorted(set(config.train_sizes)):
        try:
            model(torch.empty(1, 3, size, size, device="meta"))
        except ValueError:
            which, remedy = ("every batch", "use a larger one") if config.batch_size < 2 * slices else (
                f"the last batch of {train_images:,} images", "choose another, or --set drop_last=true")
            part = "" if slices == 1 else f"one of the {slices} slices of "
            raise ConfigError(f"batch size {config.batch_size}: {part}{which} has one image, and BatchNorm needs two "
                              f"to train at {size} px: {remedy}") from None
