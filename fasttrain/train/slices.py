"""A training step over slices of the global batch: for several processes, for batches larger than memory, or both."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from fasttrain import launch
from fasttrain.config import RunConfig
from fasttrain.data.batch import Batch, BatchPlan
from fasttrain.data.split import Split
from fasttrain.processes import Processes
from fasttrain.runtime import Runtime
from fasttrain.shares import slice_count, slice_start
from fasttrain.train.bucket import Bucket
from fasttrain.train.interrupt import STOPPING
from fasttrain.train.step import Step
from fasttrain.train.sync_bn import synchronize_norms

MEASURED = 5  # numbers of a slice: its part of the loss, and its four sums
LIMIT = 60  # seconds in which a GPU has to finish a step
POLL = 1e-4  # seconds between two looks
LAG = 4  # steps on a GPU after which the host reads which signals have come, so that it need not wait for the device


def build_step(model: nn.Module, config: RunConfig, runtime: Runtime, split: Split, plan: BatchPlan, val_images: int,
               processes: Processes) -> Step:
    """Returns the Step of one process and one slice, or a SlicedStep. plan: which samples a step holds."""
    slices = slice_count(config.shards, processes.size)
    if slices == 1:
        return Step(model, config, runtime, split, plan.steps, val_images)
    return SlicedStep(model, config, runtime, split, plan, val_images, processes, slices)


class SlicedStep(Step):
    """A Step whose global batch comes in slices, each with its own forward and backward pass and BatchNorm batch.

    Gradients are those of the mean loss over the global batch. Every slice starts from the step's old running
    statistics; the new ones are the mean over the slices that are not empty. Optimizer and averages run once, on equal
    values in all processes. A slice that is not as long as most runs neither compiled nor captured.

    The numbers in the bucket: loss, four sums, and for each of STOPPING whether a process has received it.
    """

    def __init__(self, model: nn.Module, config: RunConfig, runtime: Runtime, split: Split, plan: BatchPlan,
                 val_images: int, processes: Processes, slices: int):
        if config.sync_bn:
            synchronize_norms(model, processes)
        super().__init__(model, config, runtime, split, plan.steps, val_images)
        self.plan, self.processes, self.slices = plan, processes, slices
        self.own = slices // processes.size
        count = MEASURED + len(STOPPING)
        self.bucket = Bucket(self.model, count, self.own)
        self.numbers, self.weight = (self.bucket.flat.new_zeros(shape) for shape in ((count,), ()))
        self.asked = None
        self.read_later = collections.deque()

    def train(self, batch: Batch, lr: float, step: int, index: int) -> None:
        self.prepare(lr, step)
        self.mark("other")
        self.backward(batch, step, self.plan.size(index))
        self.launch_finish()
        self.losses[index] = self.loss
        self.steps = step + 1
        self.mark("other")

    def backward(self, batch: Batch, step: int, count: int) -> None:
        """Runs this process's slices forward and backward, and adds them up. count: images of the global batch."""
        self.bucket.share.fill_(1 / min(self.slices, count))
        if self.own > 1:
            self.bucket.keep_statistics()
        for place, (images, labels, samples) in enumerate(self.cut(batch, count)):
            if samples:
                self.seed(step, self.processes.rank * self.own + place)
                self.weight.fill_(samples / count)
                if place:
                    self.bucket.restore_statistics()
                self.launch_train[self.size](images, labels)
            else:
                self.numbers[:MEASURED] = 0
                self.bucket.fill_nothing(self.numbers)
            self.bucket.add(place, self.own)

    def cut(self, batch: Batch, count: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yields images and labels of each slice of this process, with their lead, and the number of samples."""
        lead = len(batch.labels) - batch.valid
        first = self.processes.rank * self.own
        starts = [slice_start(count, number, self.slices) for number in range(first, first + self.own + 1)]
        for start, end in zip(starts, starts[1:], strict=False):
            part = slice(start - starts[0], end - starts[0] + lead)
            yield batch.images[part], batch.labels[part], end - start

    def rehearse(self, batch: Batch) -> None:
        """Runs the slices of a batch; ranks that compile for different times must not wait for each other."""
        self.prepare(0.0, 0)
        self.backward(batch, 0, batch.valid * self.processes.size)

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return next(self.cut(batch, batch.valid * self.processes.size))[:2]

    def update(self, images: Tensor, labels: Tensor) -> None:
        """Fills the bucket from one slice: what the first CUDA graph holds."""
        self.mark("host_to_device")
        loss = self.forward_train[self.size](images, labels, self.mix)
        self.mark("forward")
        self.scaler.scale(loss).backward()
        self.bucket.fill(self.numbers)
        self.optimizer.zero_grad(set_to_none=True)
        self.mark("backward")

    def finish(self) -> None:
        """Adds the processes' buckets up and changes weights, statistics and sums: what the second CUDA graph holds."""
        self.bucket.exchange(self.processes, in_tree=self.config.shards > 1)
        self.mark("communication")
        self.loss.copy_(self.bucket.numbers[0])
        self.sums[:4] += self.bucket.numbers[1:MEASURED]
        self.bucket.hand_over()
        self.optimize()

    def train_loss(self, images: Tensor, labels: Tensor, mix: Tensor | None) -> Tensor:
        """Returns a slice's part of the batch's mean loss, and keeps it with the slice's sums in `numbers`."""
        loss, sums = self.loss_and_sums(images, labels, mix)
        loss = loss * self.weight
        self.numbers[0] = loss.detach()
        self.numbers[1:MEASURED] = sums
        return loss

    def paired(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        return samples[1:], samples[:-1]

    # Stopping

    def agree(self, asked: signal.Signals | None) -> signal.Signals | None:
        """Returns the signal that all processes end after this step for, once all know of it."""
        if self.processes.size == 1:
            return asked
        if asked != self.asked:
            self.asked = asked
            self.numbers[MEASURED + STOPPING.index(asked)] = 1
        received = self.bucket.numbers[MEASURED:]
        if self.runtime.device.type == "cuda":
            return self.agree_later(received)
        return first_of(received)

    def agree_later(self, received: Tensor) -> signal.Signals | None:
        """Returns what all know since LAG steps: the same in every process, and on its way to the host since then."""
        pinned = torch.empty(received.shape, dtype=received.dtype, pin_memory=True).copy_(received, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.read_later.append((event, pinned))
        if len(self.read_later) <= LAG:
            return None
        event, pinned = self.read_later.popleft()
        wait_for(event)
        return first_of(pinned)

    def settle(self) -> None:
        for event, _ in self.read_later:
            wait_for(event)
        self.read_later.clear()
        super().settle()

    # Forms

    def launch_singly(self) -> None:
        super().launch_singly()
        self.launch_finish = self.finish

    @contextlib.contextmanager
    def marked(self, mark: Callable[[str], None]) -> Iterator[None]:
        whole = self.launch_finish
        self.launch_finish = self.finish
        try:
            with super().marked(mark):
                yield
        finally:
            self.launch_finish = whole


def wait_for(event: torch.cuda.Event) -> None:
    """Returns when the GPU has finished a step; ends this process where none finishes for LIMIT seconds.

    NCCL's watchdog does not see collectives in a CUDA graph (pytorch#102542). Nothing ends a kernel that waits for a
    peer, and cleaning up would wait for the kernel.
    """
    until = time.monotonic() + LIMIT
    while not event.query():
        if time.monotonic() > until:
            reason = launch.lose_peer(f"no step finished for {LIMIT} s: another process of this run does not answer")
            if reason:
                print(f"fasttrain: error: {reason}", file=sys.stderr, flush=True)
            os._exit(1)
        time.sleep(POLL)


def first_of(received: Tensor) -> signal.Signals | None:
    """Returns the first of STOPPING that any process has received."""
    return next((number for number, count in zip(STOPPING, received.tolist(), strict=True) if count), None)
