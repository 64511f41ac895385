"""One training step and one evaluation step: uint8 images in, updated weights and metric sums out.

Nothing is read back to the host. `compile.py` puts faster forms of the same functions in their places.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fasttrain import keyed
from fasttrain.config import RunConfig
from fasttrain.data.batch import Batch
from fasttrain.data.split import Split
from fasttrain.processes import ALONE
from fasttrain.runtime import Runtime
from fasttrain.train import metrics
from fasttrain.train.convolution import use_matrix_products
from fasttrain.train.counters import drop_counters, load_with_counters, with_counters
from fasttrain.train.ema import Ema
from fasttrain.train.mix import draw_mix, mix_images, mixed_loss
from fasttrain.train.norm import fuse_norms
from fasttrain.train.optimizers import build_optimizer, load_state
from fasttrain.train.pixels import Normalizer, shrink


class Step:
    """Owns the model, its optimizer and the sums; `train` and `evaluate` take one Batch each.

    Attributes that others read:
        sums: float64 [4], loss, top-1 hits, top-5 hits and images since `reset`; with `tta` a fifth, hits where each
            image is averaged with its mirror image.
        losses: float32 [steps of an epoch], the loss of each train step. loss: the last one.
        predicted: int64 [val_images + 1], the class that the evaluation gave each image, -1 before; the last element
            takes the padding.
        size: pixels that training shrinks its images to; the trainer sets it between epochs. sizes: those of the run.
        lr: float32 scalar tensor, so that a schedule neither recompiles nor synchronises.
        steps: how many it has trained, counted over the run.
        mark: called with the name of each phase of a train step when it ends; `marked` sets it.

    processes: those that a step is shared by.

    Places for other forms of the same functions: `forward_train`, `launch_train` (by size), `forward_eval`,
    `launch_eval`.
    """

    processes = ALONE

    def __init__(self, model: nn.Module, config: RunConfig, runtime: Runtime, split: Split, steps_per_epoch: int,
                 val_images: int = 0):
        self.config, self.runtime, self.classes = config, runtime, split.num_classes
        self.model = model.to(runtime.device, memory_format=runtime.memory_format)
        if runtime.device.type == "cpu" and runtime.channels_last:
            use_matrix_products(self.model)
        drop_counters(self.model)
        self.optimizer, self.lr = build_optimizer(self.model, config.optimizer, runtime.device)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.ema = Ema(self.model, config.ema) if config.ema else None
        self.evaluated = self.ema.model if self.ema else self.model
        self.normalize = Normalizer(split.mean, split.std, runtime)
        zeros = functools.partial(torch.zeros, device=runtime.device)
        self.sums = zeros(4 + config.tta, dtype=torch.float64)
        self.losses, self.loss = zeros(steps_per_epoch), zeros(())
        self.predicted = torch.full((val_images + 1,), -1, device=runtime.device)
        self.valid = zeros((), dtype=torch.int64)
        self.generators, self.steps = runtime.generators(), 0
        self.mix = zeros(6) if config.mix else None
        self.sizes = sorted(set(config.train_sizes))
        self.size, self.mark, self.compile_seconds = self.sizes[-1], no_mark, 0.0
        self.run_eagerly()

    # Training

    def train(self, batch: Batch, lr: float, step: int, index: int) -> None:
        """Takes one optimizer step. step: counted over the run, keys dropout and mixing. index: place in the epoch."""
        self.prepare(lr, step)
        self.mark("other")
        self.launch_train[self.size](*self.inputs(batch))
        self.losses[index] = self.loss
        self.steps = step + 1
        self.mark("other")

    def prepare(self, lr: float, step: int) -> None:
        """Sets what differs from step to step beside the batch: rates, how to mix, the seed of what dropout draws."""
        self.seed(step)
        self.lr.fill_(lr)
        if self.ema:
            self.ema.prepare(step)
        if self.mix is not None:
            drawn = draw_mix(self.config.mix, self.config.seed, step, self.size)
            pinned = self.runtime.device.type == "cuda"  # from other memory the copy may wait for the step before
            self.mix.copy_(torch.tensor(drawn, dtype=torch.float32, pin_memory=pinned), non_blocking=True)
        if not self.model.training:
            self.model.train()

    def rehearse(self, batch: Batch) -> None:
        """Does what compiling and the libraries have to see once before a capture."""
        self.train(batch, 0.0, 0, 0)

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns what `launch_train` gets of a batch."""
        return batch.images, batch.labels

    def seed(self, *place: int) -> None:
        """Seeds what dropout draws. place: the step, counted over the run."""
        seed = keyed.key(self.config.seed, keyed.NOISE, *place)
        for generator in self.generators:  # torch.manual_seed takes 200 us: it formats a stack for other backends
            generator.manual_seed(seed)

    def update(self, images: Tensor, labels: Tensor) -> None:
        """Does everything that one training batch changes on the device: what a CUDA graph holds."""
        self.mark("host_to_device")
        loss = self.forward_train[self.size](images, labels, self.mix)
        self.mark("forward")
        self.scaler.scale(loss).backward()
        self.mark("backward")
        self.optimize()

    def optimize(self) -> None:
        """Changes the weights by their gradients, then forgets these."""
        if self.config.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update()
        self.mark("optimizer")

    def train_loss(self, images: Tensor, labels: Tensor, mix: Tensor | None) -> Tensor:
        """Returns a batch's mean loss, keeps it in `loss` and adds the batch to the sums; see `loss_and_sums`."""
        loss, sums = self.loss_and_sums(images, labels, mix)
        self.sums[:4] += sums
        self.loss.copy_(loss.detach())
        return loss

    def loss_and_sums(self, images: Tensor, labels: Tensor, mix: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns a batch's mean loss and its metric sums. mix: what `draw_mix` drew, float32 [6], or None.

        In a mixed batch hits count against the label of the larger share.
        """
        images = shrink(images, self.size)
        with self.runtime.autocast():
            if mix is None:
                x = self.normalize(images)
            else:
                images, others = self.paired(images)
                x = mix_images(self.normalize(images), self.normalize(others), mix)
            logits = self.model(x).float()
        smoothing = self.config.label_smoothing
        if mix is None:
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        else:
            loss, labels = mixed_loss(logits, *self.paired(labels), mix, smoothing)
        return loss, metrics.batch_sums(loss.detach(), logits.detach(), labels)

    def paired(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (samples, those before them in the batch), which mixing pairs; the last one is before the first."""
        return samples, samples.roll(1, 0)

    def agree(self, asked: signal.Signals | None) -> signal.Signals | None:
        """Returns the signal that ends the run after this step. asked: the one that this process has received."""
        return asked

    def settle(self) -> None:
        """Returns when the device has done all steps."""
        self.runtime.synchronize()

    # Evaluation

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> None:
        """Adds one evaluation batch to the sums; what lies behind `batch.valid` is padding."""
        if self.evaluated.training:
            self.evaluated.eval()
        self.valid.fill_(batch.valid)
        self.launch_eval(batch.images, batch.labels, batch.indices)

    def count(self, images: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Adds what `forward_eval` returns to the sums."""
        self.sums += self.forward_eval(images, labels, indices, self.valid, self.predicted)

    def eval_sums(self, images: Tensor, labels: Tensor, indices: Tensor, valid: Tensor, predicted: Tensor) -> Tensor:
        """Returns the metric sums of the first `valid` samples; puts their classes into `predicted`."""
        logits = self.eval_logits(images)
        mask = torch.arange(len(labels), device=labels.device) < valid
        metrics.put_predicted(predicted, logits, labels, indices, mask)
        sums = metrics.batch_sums(F.cross_entropy(logits, labels, reduction="none"), logits, labels, mask)
        if self.config.tta:
            logits = (logits + self.eval_logits(images.flip(2))) / 2
            sums = torch.cat([sums, metrics.hits(logits, labels, mask)])
        return sums

    def eval_logits(self, images: Tensor) -> Tensor:
        with self.runtime.autocast():
            return self.evaluated(self.normalize(images)).float()

    def reset(self) -> None:
        """Empties the sums before a pass over a split."""
        self.sums.zero_()
        self.predicted.fill_(-1)

    # Forms, hooks, state

    def run_eagerly(self) -> None:
        """Puts the functions above in all places: neither compiled nor captured."""
        if self.runtime.device.type == "cpu" and self.runtime.channels_last:
            fuse_norms(self.model)
            fuse_norms(self.evaluated)
        self.forward_train, self.forward_eval = dict.fromkeys(self.sizes, self.train_loss), self.eval_sums
        self.launch_singly()

    def launch_singly(self) -> None:
        """Gives CUDA graphs up: kernels are launched one by one."""
        self.launch_train, self.launch_eval = dict.fromkeys(self.sizes, self.update), self.count

    @contextlib.contextmanager
    def marked(self, mark: Callable[[str], None]) -> Iterator[None]:
        """Calls `mark` with each phase of a train step when it ends, while the block runs.

        A captured step then runs the same kernels without its graph, inside of which no phase ends.
        """
        whole = self.launch_train
        self.launch_train = {size: getattr(launch, "singly", launch) for size, launch in whole.items()}
        self.mark = mark
        try:
            yield
        finally:
            self.launch_train, self.mark = whole, no_mark

    def changing(self) -> Iterator[Tensor]:
        """Yields every tensor that a step changes in place."""
        yield from self.trained()
        yield from (self.sums, self.losses, self.loss, self.predicted)

    def trained(self) -> Iterator[Tensor]:
        """Yields weights, statistics, their averages and the optimizer's state."""
        yield from self.model.parameters()
        yield from self.model.buffers()
        if self.ema:
            yield from self.ema.tensors()
        for state in self.optimizer.state.values():
            yield from filter(torch.is_tensor, state.values())

    def state_dict(self) -> dict:
        """Returns what a checkpoint holds of the step: tensors and plain values only."""
        averages = {"ema": with_counters(self.ema.model.state_dict(), self.steps)} if self.ema else {}
        return {"model": with_counters(self.model.state_dict(), self.steps), **averages,
                "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(),
                "sums": self.sums, "losses": self.losses}

    def load_state_dict(self, state: dict) -> None:
        """Takes over a saved state, in the tensors that there are."""
        self.steps = load_with_counters(self.model, state["model"])
        if self.ema:
            load_with_counters(self.ema.model, state["ema"])
        load_state(self.optimizer, state["optimizer"], self.lr)
        self.scaler.load_state_dict(state["scaler"])
        self.sums.copy_(state["sums"])
        self.losses.copy_(state["losses"])


def no_mark(phase: str) -> None:
    """Notes nothing."""
