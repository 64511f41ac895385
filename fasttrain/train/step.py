"""The train step and the eval step: uint8 in, updated weights and metric sums out, nothing read back to the host.

Forward and loss are one function, compiled as one graph together with its backward; the fused optimizer runs beside it.
On a GPU the whole of it is captured once as a CUDA graph and then replayed, one launch a step.
"""

import contextlib
import functools
import time

import torch
import torch.nn.functional as F

from fasttrain import keyed
from fasttrain.runtime import out_of_memory
from fasttrain.storage import use_compile_cache
from fasttrain.train import metrics
from fasttrain.train.compile import Captured, Compiled, with_sound_cache
from fasttrain.train.convolution import use_matrix_products
from fasttrain.train.ema import Ema
from fasttrain.train.mix import draw_mix, mix_images, mixed_loss
from fasttrain.train.optim import build_optimizer


class Normalizer:
    """uint8 [B, S, S, 3] to normalised [B, 3, S, S] in `dtype`: (x / 255 - mean) / std, as one multiply-add."""

    def __init__(self, mean, std, runtime):
        mean, std = (torch.tensor(v, dtype=torch.float32, device=runtime.device).view(1, 3, 1, 1) for v in (mean, std))
        self.scale, self.shift = 1 / (255 * std), -mean / std
        self.runtime = runtime

    def __call__(self, images):
        # the permuted view of NHWC bytes is the channels-last layout already: nothing moves
        x = images.permute(0, 3, 1, 2).to(torch.float32)
        x = torch.addcmul(self.shift, x, self.scale).to(self.runtime.dtype)
        return x.contiguous(memory_format=self.runtime.memory_format)


def shrink(images, size):
    """uint8 [B, S, S, 3] to uint8 [B, size, size, 3]: bilinear with antialiasing, as Pillow and torch define it.

    A CPU resamples bytes, a GPU float32 and rounds: the two differ by one gray level at most.
    """
    if images.shape[1] == size:
        return images
    x = images.permute(0, 3, 1, 2)
    if not images.is_cpu:
        x = x.float()
    x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
    if x.is_floating_point():
        x = x.round().clamp(0, 255).to(torch.uint8)
    return x.permute(0, 2, 3, 1)


class Step:
    """Owns model, optimizer and device sums; `train` and `evaluate` take one Batch each.

    sums: float64 [4] of loss, top-1 hits, top-5 hits, images since `reset`, and with `tta` a fifth: hits where each
    image is averaged with its mirror image. losses: float32 [steps of an epoch], the
    loss of each train step; loss: the last one. predicted: int64 [val_images + 1], the class that the evaluation gave
    each image, -1 before; the last element takes the padding. lr: float32 scalar tensor, valid: int64 scalar tensor.
    """

    def __init__(self, model, config, runtime, split, steps_per_epoch, val_images=0):
        self.config, self.runtime = config, runtime
        self.model = model.to(runtime.device, memory_format=runtime.memory_format)
        if runtime.device.type == "cpu" and runtime.channels_last:
            use_matrix_products(self.model)
        self.optimizer, self.lr = build_optimizer(self.model, config.optimizer, runtime.device)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.ema = Ema(self.model, config.ema) if config.ema else None
        self.evaluated = self.ema.model if self.ema else self.model
        self.normalize = Normalizer(split.mean, split.std, runtime)
        zeros = functools.partial(torch.zeros, device=runtime.device)
        self.sums = zeros(4 + config.tta, dtype=torch.float64)
        self.losses, self.loss = zeros(steps_per_epoch), zeros(())
        self.classes = split.num_classes
        self.predicted = torch.full((val_images + 1,), -1, device=runtime.device)
        self.valid = zeros((), dtype=torch.int64)
        self.mix = zeros(6) if config.mix else None
        self.forward_train, self.forward_eval = self.loss_and_sums, self.eval_sums
        self.run_train, self.run_eval = self.update, self.count
        self.sizes = sorted(set(config.train_sizes))
        self.size, self.other_sizes = self.sizes[-1], {}
        self.compile_seconds = 0.0

    def resize(self, size):
        """Trains at `size` pixels from now on, by what was compiled and captured for that size, if anything was."""
        self.other_sizes[self.size] = self.forward_train, self.run_train
        self.size = size
        self.forward_train, self.run_train = self.other_sizes.get(size, (self.loss_and_sums, self.update))

    def loss_and_sums(self, images, labels, mix):
        """The mean loss of a training batch, and its metric sums. mix: what `draw_mix` drew, float32 [6], or None.

        In a mixed batch hits count against the label of the larger share.
        """
        images = shrink(images, self.size)
        with self.runtime.autocast():
            x = self.normalize(images)
            if mix is not None:
                x = mix_images(x, self.normalize(images.roll(1, 0)), mix)
            logits = self.model(x).float()
        smoothing = self.config.label_smoothing
        if mix is None:
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        else:
            loss, labels = mixed_loss(logits, labels, mix, smoothing)
        return loss, metrics.batch_sums(loss.detach(), logits.detach(), labels)

    def eval_sums(self, images, labels, indices, valid, predicted):
        """The metric sums of an evaluation batch; puts its classes into `predicted`. valid: the samples that count."""
        logits = self.eval_logits(images)
        mask = torch.arange(len(labels), device=labels.device) < valid
        metrics.put_predicted(predicted, logits, indices, mask)
        sums = metrics.batch_sums(F.cross_entropy(logits, labels, reduction="none"), logits, labels, mask)
        if self.config.tta:
            logits = (logits + self.eval_logits(images.flip(2))) / 2
            sums = torch.cat([sums, metrics.hits(logits, labels, mask)])
        return sums

    def eval_logits(self, images):
        with self.runtime.autocast():
            return self.evaluated(self.normalize(images)).float()

    def update(self, images, labels):
        """Everything that one training batch changes on the device, at the rate in `lr`: what a CUDA graph holds."""
        loss, sums = self.forward(images, labels)
        self.backward(loss)
        self.optimize()
        self.record(loss, sums)

    def forward(self, images, labels):
        return self.forward_train(images, labels, self.mix)

    def backward(self, loss):
        self.scaler.scale(loss).backward()

    def optimize(self):
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update()

    def record(self, loss, sums):
        self.sums[:4].add_(sums)
        self.loss.copy_(loss.detach())

    def count(self, images, labels, indices):
        """Adds one evaluation batch, of which `valid` samples count, to the sums."""
        self.sums += self.forward_eval(images, labels, indices, self.valid, self.predicted)

    def reset(self):
        """Empties the sums before a pass over a split."""
        self.sums.zero_()
        self.predicted.fill_(-1)

    def prepare(self, lr, step):
        """Sets what differs from step to step beside the batch: rates, how to mix, the seed of what dropout draws."""
        seed = self.config.seed
        torch.manual_seed(keyed.key(seed, keyed.NOISE, step))
        self.lr.fill_(lr)
        if self.ema:
            self.ema.prepare(step)
        if self.mix is not None:
            drawn = draw_mix(self.config.mix, seed, step, self.size)
            self.mix.copy_(torch.tensor(drawn, dtype=torch.float32), non_blocking=True)
        if not self.model.training:
            self.model.train()

    def train(self, batch, lr, step, index):
        """One optimizer step. step: global step, which keys dropout and mixing; index: its place in the epoch."""
        self.prepare(lr, step)
        self.run_train(batch.images, batch.labels)
        self.losses[index] = self.loss

    @torch.no_grad()
    def evaluate(self, batch):
        """Adds one evaluation batch to the sums; what lies behind `batch.valid` is padding."""
        if self.evaluated.training:
            self.evaluated.eval()
        self.valid.fill_(batch.valid)
        self.run_eval(batch.images, batch.labels, batch.indices)

    def warm_up(self, train_batch, eval_batch, warn):
        """Compiles and captures, as the runtime says, on real shapes without training: the state stays as it is.

        Where that fails the next simpler form runs, and `warn` gets one line that says so. Without an `eval_batch` only
        training is prepared, and the other way round.
        """
        if self.runtime.compile == "off":
            return
        started = time.monotonic()
        use_compile_cache()
        with self.untouched():
            compiled = self.attempt(self.compile, self.run_eager, train_batch, eval_batch, warn, "eager")
            if compiled and self.runtime.cuda_graphs:
                self.attempt(self.capture, self.launch_singly, train_batch, eval_batch, warn, "without a CUDA graph")
        self.runtime.synchronize()
        self.compile_seconds = time.monotonic() - started

    def attempt(self, prepare, undo, train_batch, eval_batch, warn, otherwise):
        """Whether `prepare` worked; if not, `undo` is called. A simpler form is no remedy for lack of memory."""
        try:
            with_sound_cache(prepare, train_batch, eval_batch)
        except Exception as error:  # compilers and drivers fail in as many ways as there are toolchains
            if out_of_memory(error):
                raise
            undo()
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            warn(f"compile {self.runtime.compile} failed, training goes on {otherwise}: {reason}")
            return False
        return True

    def compile(self, train_batch, eval_batch):
        self.forward_eval = Compiled(self.eval_sums, self.runtime.inductor_mode)
        for size in self.sizes:
            self.resize(size)
            self.forward_train = Compiled(self.loss_and_sums, self.runtime.inductor_mode)
            if train_batch is not None:
                self.train(train_batch, 0.0, 0, 0)
        if eval_batch is not None:
            self.evaluate(eval_batch)

    def run_eager(self):
        self.other_sizes.clear()
        self.forward_train, self.forward_eval = self.loss_and_sums, self.eval_sums

    def capture(self, train_batch, eval_batch):
        pool = torch.cuda.graph_pool_handle()
        for size in self.sizes if train_batch is not None else ():
            self.resize(size)
            self.prepare(0.0, 0)
            self.run_train = Captured(self.update, train_batch[:2], pool)
        if eval_batch is not None:
            self.evaluate(eval_batch)
            with torch.no_grad():
                self.run_eval = Captured(self.count, eval_batch[:3], pool)

    def launch_singly(self):
        self.other_sizes = {size: (forward, self.update) for size, (forward, _) in self.other_sizes.items()}
        self.run_train, self.run_eval = self.update, self.count

    def changing(self):
        """Every tensor that a step changes in place."""
        yield from self.model.parameters()
        yield from self.model.buffers()
        if self.ema:
            yield from self.ema.tensors()
        for state in self.optimizer.state.values():
            yield from filter(torch.is_tensor, state.values())
        yield from (self.sums, self.losses, self.loss, self.predicted)

    @contextlib.contextmanager
    def untouched(self):
        """Steps taken inside leave no trace: not in weights, statistics, optimizer, sums or random generators."""
        before = [(tensor, tensor.detach().clone()) for tensor in self.changing()]
        scaler, devices = self.scaler.state_dict(), [self.runtime.device] if self.runtime.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices):
                yield
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.load_state_dict(scaler)
            with torch.no_grad():
                for tensor, kept in before:
                    tensor.copy_(kept)

    def state_dict(self):
        """What a checkpoint holds of the step: tensors and plain values only."""
        averages = {"ema": self.ema.model.state_dict()} if self.ema else {}
        return {"model": self.model.state_dict(), **averages, "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(), "sums": self.sums, "losses": self.losses}

    def load_state_dict(self, state):
        """Takes over a saved state. A captured step is given up: it would go on with the old optimizer state."""
        self.launch_singly()
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.model.load_state_dict(state["ema"])
        lr = self.lr
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.load_state_dict(state["scaler"])
        self.sums.copy_(state["sums"])
        self.losses.copy_(state["losses"])
