"""The contract between data and training: what a batch is, what a loader is, and which samples a batch holds."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fasttrain import keyed
from fasttrain.config import Augment
from fasttrain.cores import cores
from fasttrain.data.augment import only, switched_on
from fasttrain.data.augment.rest import Rest
from fasttrain.data.mapped import MappedFiles
from fasttrain.data.split import Photos, Split
from fasttrain.errors import ConfigError
from fasttrain.shares import slice_start


class Batch(NamedTuple):
    """One step's samples on the step's device.

    images: uint8 [B, S, S, 3], NHWC, augmented. labels: int64 [B]. indices: int64 [B], positions in the split.
    valid: how many of the B samples count; evaluation pads its last batch to a static shape, training never pads. With
    `lead` the first sample is the one before them.
    """

    images: Any
    labels: Any
    indices: Any
    valid: int


@dataclass(frozen=True)
class LoaderSpec:
    """What every loader is built from; equal specs deliver equal batches, whichever loader it is.

    batch_size is global: rank r of `world_size` takes its slice of each global batch. With `train` the order is
    shuffled by (seed, epoch) and `augment` applies; without it samples come in order, as they are, padded at the end.
    threads: how many a loader with threads or processes of its own shares among all ranks; None: one for each core.
    lead: whether a rank also gets, first, the sample before its own in the global batch; before the first is the last.
    """

    split: Split
    batch_size: int
    train: bool
    seed: int = 0
    augment: Augment = Augment()
    drop_last: bool = False
    device: Any = "cpu"
    rank: int = 0
    world_size: int = 1
    threads: int | None = None
    lead: bool = False

    @property
    def workers(self) -> int:
        """The threads or processes of this rank's loader."""
        return max(1, (self.threads or cores()) // self.world_size)

    @property
    def photos(self) -> Photos | None:
        """The photos that crops are cut from: in training, where the split has them stored large."""
        return self.split.photos if self.train else None


class BatchPlan:
    """Which samples each step of an epoch holds: integer arithmetic on a LoaderSpec, shared by all loaders.

    steps: how many an epoch has. local_size: samples in a full batch of one rank, at most.
    """

    def __init__(self, spec: LoaderSpec):
        self.spec = spec
        self.count = len(spec.split)
        whole, rest = divmod(self.count, spec.batch_size)
        self.steps = whole + (1 if rest and not (spec.train and spec.drop_last) else 0)
        self.local_size = -(-spec.batch_size // spec.world_size) + spec.lead

    def order(self, epoch: int) -> np.ndarray:
        """Returns the samples of an epoch in the order in which they come: int64 [count]."""
        if self.spec.train:
            return keyed.permutation(self.spec.seed, epoch, self.count)
        return np.arange(self.count, dtype=np.int64)

    def size(self, step: int) -> int:
        """Returns how many samples the global batch of a step has."""
        return min(self.spec.batch_size, self.count - step * self.spec.batch_size)

    def step(self, order: np.ndarray, step: int) -> tuple[np.ndarray, int]:
        """Returns this rank's samples of one step: (indices int64 [b], valid).

        Evaluation repeats the last sample up to the static local size; `valid` leaves the repeats and the lead out.
        """
        spec = self.spec
        batch = order[step * spec.batch_size:(step + 1) * spec.batch_size]
        first, last = (slice_start(len(batch), r, spec.world_size) for r in (spec.rank, spec.rank + 1))
        mine = batch[first:last]
        if spec.lead and len(mine):
            return batch.take(np.arange(first - 1, last), mode="wrap"), len(mine)
        if not spec.train and len(mine) < self.local_size:
            padding = np.full(self.local_size - len(mine), batch[-1], np.int64)
            return np.concatenate([mine, padding]), len(mine)
        return mine, len(mine)


class BatchLoader:
    """Base of the loaders: yields this rank's `Batch` for each step of the epoch that `set_epoch` named.

    Leaving an iteration early is safe, iterating again starts at `start_step` once more, `close` may be called twice.
    A loader implements `load(epoch, steps)`, a generator of batches, where `steps` is a list of (indices, valid).

    does: the names of the augmentations that it can do itself. Their order is fixed, so it does those before the first
    that it cannot do: `self.augment` asks for no others, and for none in evaluation. The rest follows `load`.
    cuts_photos: whether it can train on the `photos` of a split.
    """

    does: tuple[str, ...] = ()
    cuts_photos = False

    def __init__(self, spec: LoaderSpec):
        self.spec = spec
        self.plan = BatchPlan(spec)
        wanted = switched_on(spec.augment, spec.split.image_size) if spec.train else {}
        own = list(itertools.takewhile(self.does.__contains__, wanted))
        self.augment = only(spec.augment, [wanted.pop(name) for name in own])
        self.rest = Rest(list(wanted.values()), spec.seed, spec.device) if wanted else None
        if spec.photos and not self.cuts_photos:
            raise ConfigError("random resized crops of photos stored large (photo_side) are cut by --loader resident "
                              "only: use it, or --set photo_side=0")
        self.files = MappedFiles(spec.split.pixels, spec.split.jpeg, spec.photos and spec.photos.data)
        self.epoch = 0
        self.start_step = 0

    def __len__(self) -> int:
        return self.plan.steps

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """Makes the next iteration deliver epoch `epoch` (from 0) from step `start_step` on."""
        self.epoch, self.start_step = epoch, start_step

    def __iter__(self) -> Iterator[Batch]:
        order = self.plan.order(self.epoch)
        steps = [self.plan.step(order, step) for step in range(self.start_step, self.plan.steps)]
        batches = self.files.unaltered(self.load(self.epoch, steps))
        return self.rest.over(batches, self.epoch, steps) if self.rest else batches

    def load(self, epoch: int, steps: list[tuple[np.ndarray, int]]) -> Iterator[Batch]:
        """Yields the batch of each of `steps`, augmented as `self.augment` says."""
        raise NotImplementedError

    def close(self) -> None:
        """Frees what the loader holds."""
