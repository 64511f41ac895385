"""Two trainers: the original study's way, and the same with what tutorials on speed recommend.

Both are contenders (see `fasttrain.perf.bench.worker`); one measurement is an epoch of training and its evaluation.
"""

import contextlib
import time

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from benchmarks.peers.images import Images
from fasttrain.config import RunConfig
from fasttrain.models import build_model
from fasttrain.perf.bench.contenders import training_facts
from fasttrain.perf.cost import training_cost
from fasttrain.runtime import choose_device, choose_precision, choose_threads, use_threads
from fasttrain.train.optimizers import parameter_groups
from fasttrain.train.schedules import learning_rate
from fasttrain.train.timing import peak_memory_bytes

MAX_WORKERS = 16


class Trainer:
    """What both share: data, network, optimizer, schedule. config: values of a RunConfig; the rest is from `share`."""

    precision, compile, channels_last = "fp32", "off", False
    loader_settings, optimizer_settings = {}, {}

    def __init__(self, config, folder, classes, mean, std):
        self.config, self.classes = RunConfig(**config), classes
        config = self.config
        self.threads = choose_threads(config.threads)[0]
        use_threads(self.threads)
        self.device = choose_device(config.device)[0]
        padding, flip = config.augment.crop_padding, config.augment.flip != "none"
        self.train_loader = self.loader(Images(f"{folder}/train", mean, std, padding, flip), shuffle=True,
                                        drop_last=config.drop_last)
        self.val_loader = self.loader(Images(f"{folder}/val", mean, std))
        self.model = build_model(config.arch, config.head, classes, config.image_size, config.stem, config.seed)
        self.model.to(self.device)
        chosen = config.optimizer
        self.optimizer = torch.optim.SGD(parameter_groups(self.model, chosen), lr=config.lr, momentum=chosen.momentum,
                                         nesterov=chosen.nesterov, **self.optimizer_settings)
        steps = len(self.train_loader)
        self.scheduler = LambdaLR(self.optimizer, lambda step: learning_rate(
            config, step % (config.epochs * steps), steps) / config.lr)
        self.loss = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
        self.compile_seconds = 0.0

    def loader(self, images, **settings):
        return DataLoader(images, self.config.batch_size, num_workers=min(self.threads, MAX_WORKERS),
                          **self.loader_settings, **settings)

    @property
    def facts(self) -> dict:
        config = self.config
        cost = training_cost(config.arch, config.head, self.classes, config.image_size, config.stem, self.dtype, False)
        return training_facts(config.batch_size, self.precision, self.compile, self.channels_last, "files",
                              self.compile_seconds, cost.flops, self.device, self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def measure(self):
        started, steps = time.perf_counter(), len(self.train_loader)
        images = self.train()
        self.evaluate()
        return {"seconds": time.perf_counter() - started, "images": images, "steps": steps,
                "peak_memory_bytes": peak_memory_bytes(self.device)}


class Original(Trainer):
    """The original study's way: eager, fp32, NCHW, numbers read back in each step."""

    def train(self):
        """Trains one epoch; returns the number of images. train_loss and train_top1 hold its means."""
        self.model.train()
        loss_sum = hits = count = 0
        for images, labels in self.train_loader:
            images, labels = images.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            outputs = self.model(images)
            loss = self.loss(outputs, labels)
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            loss_sum += loss.item() * len(labels)
            hits += (outputs.argmax(1) == labels).sum().item()
            count += len(labels)
        self.train_loss, self.train_top1 = loss_sum / count, 100 * hits / count
        return count

    @torch.no_grad()
    def evaluate(self):
        """Passes once over the validation images; val_top1 holds the result."""
        self.model.eval()
        hits = count = 0
        for images, labels in self.val_loader:
            images, labels = images.to(self.device), labels.to(self.device)
            hits += (self.model(images).argmax(1) == labels).sum().item()
            count += len(labels)
        self.val_top1 = 100 * hits / count


class Mainstream(Trainer):
    """What tutorials recommend: channels-last, native mixed precision, torch.compile, a fused optimizer, pinned memory,
    persistent workers, copies that do not block, and nothing read back before the end of the epoch."""

    channels_last, compile = True, "default"
    loader_settings = {"persistent_workers": True, "pin_memory": torch.cuda.is_available()}
    optimizer_settings = {"fused": True}

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        self.precision = choose_precision(self.config.precision, self.device)[0]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.model.to(memory_format=torch.channels_last)
        self.network = torch.compile(self.model)
        self.compile_all_shapes()

    def compile_all_shapes(self):
        """Runs a training batch and an evaluation, and undoes what they change; stays eager where compiling fails."""
        started = time.perf_counter()
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        try:
            images, labels = self.on_device(next(iter(self.train_loader)))
            self.scaler.scale(self.forward(images, labels)[0]).backward()
            self.evaluate()
        except torch._dynamo.exc.TorchDynamoException:
            self.network, self.compile = self.model, "off"
        self.optimizer.zero_grad()
        self.model.load_state_dict(before)
        self.compile_seconds = time.perf_counter() - started

    def on_device(self, batch):
        images, labels = batch
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        return images, labels.to(self.device, non_blocking=True)

    def autocast(self):
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def forward(self, images, labels):
        with self.autocast():
            outputs = self.network(images)
            return self.loss(outputs, labels), outputs

    def train(self):
        """Trains one epoch; returns the number of images. train_loss and train_top1 hold its means."""
        self.model.train()
        loss_sum = hits = torch.zeros((), device=self.device)
        count = 0
        for batch in self.train_loader:
            images, labels = self.on_device(batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss, outputs = self.forward(images, labels)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.scheduler.step()
            loss_sum = loss_sum + loss.detach() * len(labels)
            hits = hits + (outputs.argmax(1) == labels).sum()
            count += len(labels)
        self.train_loss, self.train_top1 = loss_sum.item() / count, 100 * hits.item() / count
        return count

    @torch.no_grad()
    def evaluate(self):
        """Passes once over the validation images; val_top1 holds the result."""
        self.model.eval()
        hits, count = torch.zeros((), device=self.device), 0
        for batch in self.val_loader:
            images, labels = self.on_device(batch)
            with self.autocast():
                hits += (self.network(images).argmax(1) == labels).sum()
            count += len(labels)
        self.val_top1 = 100 * hits.item() / count
