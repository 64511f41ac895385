"""The numbers of whole steps: the compiled and captured step, computed on the null GPU, against the CPU's eager one."""

import copy
import os

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

from tests.nullgpu.training import make_batch, make_step

pytestmark = pytest.mark.computed
# How much of each residual branch is left, and how far BatchNorm's biases keep the inputs of ReLUs from 0.
BRANCH, MARGIN = 0.1, 2.0
# Largest relative error of any tensor. With batches of 4 BatchNorm divides by the spread of four values: in resnet50
# that sets the CPU's own fp32 gradients up to 1e-4 apart from those in fp64.
LIMITS = {"resnet18": 1e-4, "resnet50": 3e-4}
# Gradients far smaller than the others are differences that vanish: held against this share of the largest.
VANISHING = 1e-4
PLAIN, EXTRAS = {}, {"mix": {"mixup": 0.4, "cutmix": 1.0}, "ema": 0.9, "tta": True}
EVERY = os.environ.get("NULLGPU_CONFIGURATIONS") == "all"


@pytest.fixture(autouse=True)
def errors_of_replays():
    """An error in what a graph launched is raised here."""
    from tests.nullgpu.computed.jobs import raise_errors

    yield
    raise_errors()


def settle(model):
    """Changes a fresh network so that rounding changes little: most ReLUs are open or closed, branches are small.

    In a fresh one ReLUs of inputs near 0 open or close by rounding, and gradients then differ by percents.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.bias.data.fill_(MARGIN)
            module.bias.data[::2] *= -1
    for block in model.modules():
        if hasattr(block, "downsample"):
            last = [module for module in block.children() if isinstance(module, torch.nn.BatchNorm2d)][-1]
            last.weight.data.mul_(BRANCH), last.bias.data.mul_(BRANCH)


def pair(arch, precision, **settings):
    """The captured step on the null GPU, and the CPU's in fp32, of the same network."""
    return (make_step("cuda", arch, precision, "reduce-overhead", settle, **settings),
            make_step("cpu", arch, "fp32", "off", settle, **settings))


def follow(reference, step):
    """Gives the reference the state of `step`, so that rounding does not add up over steps."""
    reference.load_state_dict(copy.deepcopy(tree_map(
        lambda value: value.cpu() if torch.is_tensor(value) else value, step.state_dict())))


def tensors(step):
    """By name: what a training step leaves. The momentum holds the gradients."""
    momenta = {name: step.optimizer.state[parameter]["momentum_buffer"]
               for name, parameter in step.model.named_parameters()}
    averages = step.ema.model.state_dict() if step.ema else {}
    return {**{f"momentum of {name}": value for name, value in momenta.items()}, **step.model.state_dict(),
            **{f"average of {name}": value for name, value in averages.items()}}


def errors(found, expected):
    """Relative errors by name, the largest first."""
    found, expected = ({name: value.detach().cpu().double() for name, value in one.items()}
                       for one in (found, expected))
    floors = {kind: VANISHING * max(float(value.norm()) for name, value in expected.items() if kind_of(name) == kind)
              for kind in {kind_of(name) for name in expected}}
    return dict(sorted(((name, float((found[name] - value).norm() / value.norm().clamp(min=floors[kind_of(name)])))
                        for name, value in expected.items()), key=lambda pair: -pair[1]))


def kind_of(name):
    """Tensors of one kind are of one scale: "momentum", "average" or "", weights and statistics."""
    return name.partition(" of ")[0] if " of " in name else ""


@pytest.mark.parametrize("arch, settings", [
    pytest.param("resnet18", EXTRAS, id="resnet18-extras"), pytest.param("resnet50", PLAIN, id="resnet50-plain"),
    *([pytest.param("resnet18", PLAIN, id="resnet18-plain"), pytest.param("resnet50", EXTRAS, id="resnet50-extras")]
      if EVERY else [])])
def test_replays_in_fp32_do_what_the_cpu_does(arch, settings):
    """Inputs, rates and what is mixed change from replay to replay: a graph that holds on to old ones is found out."""
    captured, reference = pair(arch, "fp32", **settings)
    for index, rate in enumerate([0.03, 0.01, 0.02]):
        follow(reference, captured)
        for step, device in ((captured, "cuda"), (reference, "cpu")):
            step.train(make_batch(device, index), rate, index, index)
        np.testing.assert_allclose(captured.losses[index].item(), reference.losses[index].item(), rtol=1e-5)
        np.testing.assert_allclose(captured.sums.tolist(), reference.sums.tolist(), rtol=1e-5)
        name, worst = next(iter(errors(tensors(captured), tensors(reference)).items()))
        assert worst < LIMITS[arch], name
    follow(reference, captured)
    for step, device in ((captured, "cuda"), (reference, "cpu")):
        step.reset()
        for number in (0, 1):
            step.evaluate(make_batch(device, number))
    np.testing.assert_allclose(captured.sums.tolist(), reference.sums.tolist(), rtol=1e-5)
    assert captured.predicted.tolist() == reference.predicted.tolist()


@pytest.mark.parametrize("arch", LIMITS if EVERY else ["resnet18"])
def test_replays_in_bf16_lie_as_near_as_its_rounding(arch):
    """Each tensor as near to the CPU's in fp32 as the CPU's own bf16 brings it."""
    captured, reference = pair(arch, "bf16")
    plain = make_step("cpu", arch, "bf16", "off", settle)
    for index, rate in enumerate([0.03, 0.01, 0.02]):
        follow(reference, captured), follow(plain, captured)
        for step, device in ((captured, "cuda"), (reference, "cpu"), (plain, "cpu")):
            step.train(make_batch(device, index), rate, index, index)
        np.testing.assert_allclose(captured.losses[index].item(), reference.losses[index].item(), rtol=0.02)
        found, allowed = (errors(tensors(step), tensors(reference)) for step in (captured, plain))
        assert {name: (error, allowed[name]) for name, error in found.items()
                if error > 3 * allowed[name] + 0.01} == {}  # sums that nearly vanish reach 2.3 times
