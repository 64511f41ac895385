"""The train step and the eval step: uint8 in, updated weights and metric sums out, nothing read back to the host.

Forward and loss are one function, compiled as one graph together with its backward; the fused optimizer runs beside it.
"""

import time

import torch
import torch.nn.functional as F

from fasttrain import keyed
from fasttrain.train import metrics
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


class Step:
    """Owns model, optimizer and device sums; `train` and `evaluate` take one Batch each.

    sums: float64 [4] of loss, top-1 hits, top-5 hits, images since `reset`. losses: float32 [steps of an epoch], the
    loss of each train step. confusion: int64 [K, K] of the evaluation, rows = truth. lr: float32 scalar tensor.
    """

    def __init__(self, model, config, runtime, split, steps_per_epoch):
        self.config, self.runtime = config, runtime
        self.model = model.to(runtime.device, memory_format=runtime.memory_format)
        self.optimizer, self.lr = build_optimizer(self.model, config.optimizer, runtime.device)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.normalize = Normalizer(split.mean, split.std, runtime)
        self.sums = torch.zeros(4, dtype=torch.float64, device=runtime.device)
        self.losses = torch.zeros(steps_per_epoch, device=runtime.device)
        self.confusion = torch.zeros(split.num_classes, split.num_classes, dtype=torch.int64, device=runtime.device)
        self.forward_train, self.forward_eval = self.loss_and_sums, self.eval_sums
        self.compile_seconds = 0.0

    def loss_and_sums(self, images, labels):
        """The mean loss of a training batch, and its metric sums."""
        with self.runtime.autocast():
            logits = self.model(self.normalize(images)).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        return loss, metrics.batch_sums(loss.detach(), logits.detach(), labels)

    def eval_sums(self, images, labels, mask, confusion):
        """The metric sums of an evaluation batch; adds to `confusion`. mask: bool [B], the samples that count."""
        with self.runtime.autocast():
            logits = self.model(self.normalize(images)).float()
        metrics.add_confusion(confusion, logits, labels, mask)
        return metrics.batch_sums(F.cross_entropy(logits, labels, reduction="none"), logits, labels, mask)

    def reset(self):
        """Empties the sums before a pass over a split."""
        self.sums.zero_()
        self.confusion.zero_()

    def train(self, batch, lr, step, index):
        """One optimizer step. step: global step, which keys dropout; index: its place in the epoch."""
        torch.manual_seed(keyed.key(self.config.seed, keyed.NOISE, step))
        self.model.train()
        self.lr.fill_(lr)
        loss, sums = self.forward_train(batch.images, batch.labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.sums += sums
        self.losses[index] = loss.detach()

    @torch.no_grad()
    def evaluate(self, batch):
        """Adds one evaluation batch to the sums; what lies behind `batch.valid` is padding."""
        self.model.eval()
        mask = torch.arange(len(batch.labels), device=batch.labels.device) < batch.valid
        self.sums += self.forward_eval(batch.images, batch.labels, mask, self.confusion)

    def warm_up(self, train_batch, eval_batch, warn):
        """Compiles (where the runtime says so) on real shapes without training: weights and statistics are unchanged.

        A compile that fails leaves the eager functions in place and says so in one line through `warn`.
        """
        if self.runtime.compile == "off":
            return
        started = time.monotonic()
        mode = None if self.runtime.compile == "default" else self.runtime.compile
        try:
            self.forward_train = torch.compile(self.loss_and_sums, mode=mode, fullgraph=True)
            self.forward_eval = torch.compile(self.eval_sums, mode=mode, fullgraph=True)
            self.rehearse(train_batch, eval_batch)
        except Exception as error:  # compilers fail in as many ways as there are toolchains
            self.forward_train, self.forward_eval = self.loss_and_sums, self.eval_sums
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            warn(f"compile {self.runtime.compile} failed, training goes on eager: {reason}")
        self.compile_seconds = time.monotonic() - started

    def rehearse(self, train_batch, eval_batch):
        """Runs forward, backward and evaluation once and puts every buffer back."""
        buffers = [b.clone() for b in self.model.buffers()]
        self.model.train()
        loss, _ = self.forward_train(train_batch.images, train_batch.labels)
        loss.backward()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, kept in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(kept)
        self.evaluate(eval_batch)
        self.reset()
        self.runtime.synchronize()

    def state_dict(self):
        """What a checkpoint holds of the step: tensors and plain values only."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(), "sums": self.sums, "losses": self.losses}

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        lr = self.lr
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.load_state_dict(state["scaler"])
        self.sums.copy_(state["sums"])
        self.losses.copy_(state["losses"])
