"""A small step for tests, its stand-ins and what they are compared by."""

import dataclasses

import torch
from torch import nn

from fasttrain import RunConfig
from fasttrain.data.batch import Batch
from fasttrain.runtime import Runtime, resolve
from fasttrain.train.step import Step
from tests.helpers import make_split

SIZE = 8
SPLIT = make_split(SIZE, 32)
EXTRAS = {"mix": {"mixup": 0.4, "cutmix": 1.0}, "ema": 0.9, "tta": True, "clip": 0.1}


def small_network():
    """Has whatever a ResNet has: convolutions of both kinds, BatchNorm, and a head that drops out."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 7, 8, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                         nn.Conv2d(4, 4, 3, 1, 1, bias=False), nn.Conv2d(4, 4, 3, 2, 1, bias=False),
                         nn.Conv2d(4, 4, 3, 1, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False), nn.Flatten(),
                         nn.Dropout(), nn.Linear(4 * 4, 3))


def make_step(graphs=False, network=small_network, **changes):
    config = RunConfig(**{"batch_size": SIZE, "lr": 0.05, "image_size": 32, "device": "cpu", "precision": "fp32",
                          "compile": "off", **changes})
    runtime = dataclasses.replace(resolve(config), compile=config.compile)
    if graphs:
        runtime = GraphRuntime(**{field.name: getattr(runtime, field.name) for field in dataclasses.fields(runtime)})
    return Step(network(), config, runtime, SPLIT, 4, SIZE)


class GraphRuntime(Runtime):
    """A CPU that claims to have CUDA graphs."""

    cuda_graphs = True


def make_batch(count=SIZE, valid=None):
    images = torch.from_numpy(SPLIT.pixels[SPLIT.rows[:count]])
    return Batch(images, torch.from_numpy(SPLIT.labels[:count]), torch.arange(count), valid or count)


def no_warning(text):
    raise AssertionError(text)


def hold(step):
    """Tells each stand-in which function it holds."""
    for captured in (*step.launch_train.values(), step.launch_eval):
        captured.graph.holder = captured


def hold_and_train(step):
    hold(step)
    return train(step, [make_batch()], steps=1)


def train(step, batches, steps=4, lr=0.05):
    for index in range(steps):
        step.train(batches[index % len(batches)], lr, index, index)
    for batch in batches:
        step.evaluate(batch)
    return step


def assert_same(one, other):
    for a, b in zip(one.changing(), other.changing(), strict=True):
        assert torch.equal(a, b)
