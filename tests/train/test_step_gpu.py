"""The captured step on a real GPU: what its stand-in in `test_compile.py` cannot show."""

import pytest
import torch

from fasttrain import RunConfig
from fasttrain.data.batch import Batch
from fasttrain.models import build_model
from fasttrain.runtime import resolve
from fasttrain.train.compile import Captured, untouched, warm_up
from fasttrain.train.saver import copied
from fasttrain.train.step import Step
from tests.helpers import make_split
from tests.train import steps
from tests.train.steps import no_warning

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]
SPLIT = make_split(64, 64, 10)
EXTRAS = {"mix": {"mixup": 0.4, "cutmix": 1.0}, "ema": 0.9, "tta": True}


def make_step(compile_mode, head="origin", precision="fp32", arch="resnet18", device="cuda", **extras):
    torch._dynamo.reset()
    config = RunConfig(arch=arch, batch_size=64, lr=0.01, device=device, precision=precision, compile=compile_mode,
                       head=head, **extras)
    return Step(build_model(arch, head, 10, seed=0), config, resolve(config), SPLIT, 8, 64)


def make_batch(count=64, device="cuda"):
    images, labels = torch.from_numpy(SPLIT.pixels[SPLIT.rows[:count]]), torch.from_numpy(SPLIT.labels[:count])
    return Batch(images.to(device), labels.to(device), torch.arange(count, device=device), count)


def train(step, batches, count=8):
    return steps.train(step, batches, count, lr=0.01)


@pytest.fixture
def full_fp32():
    """A function that turns off TF32 products, which `resolve` turns on."""
    allowed = torch.backends.cudnn.allow_tf32

    def turn_off():
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False

    yield turn_off
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = allowed


@pytest.mark.real_gpu
@pytest.mark.parametrize("arch, head", [("resnet18", "origin"), ("resnet18", "maxpool"), ("resnet50", "origin")])
@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-3), ("bf16", 0.05)])
def test_a_gpu_trains_as_the_cpu_does(arch, head, precision, tolerance, full_fp32):
    """The losses of four captured steps, and the evaluation after them, against eager fp32 steps on the CPU."""
    found = []
    for device, mode, own_precision in (("cpu", "off", "fp32"), ("cuda", "reduce-overhead", precision)):
        step = make_step(mode, head, own_precision, arch, device)
        full_fp32()
        warm_up(step, [make_batch(device=device)], make_batch(device=device), no_warning)
        train(step, [make_batch(device=device)], 4)
        found.append((step.losses[:4].cpu(), step.sums[0].cpu()))
    torch.testing.assert_close(found[1], found[0], rtol=tolerance, atol=tolerance)


@pytest.mark.real_gpu
@pytest.mark.parametrize("extras", [{}, EXTRAS], ids=["plain", "extras"])
@pytest.mark.parametrize("precision, tolerance", [("fp32", 0.01), ("bf16", 0.05), ("fp16", 0.05)])
def test_captured_equals_eager(precision, tolerance, extras):
    eager, captured = (make_step(mode, precision=precision, **extras) for mode in ("off", "reduce-overhead"))
    warm_up(captured, [make_batch()], make_batch(), no_warning)
    assert isinstance(captured.launch_train[64], Captured) and isinstance(captured.launch_eval, Captured)
    batches = [make_batch(), make_batch(40)]
    train(eager, batches, 4), train(captured, batches, 4)
    torch.testing.assert_close(captured.losses, eager.losses, rtol=tolerance, atol=tolerance)
    assert captured.sums[3] == eager.sums[3] == 3 * (64 + 40)
    assert (captured.predicted[:-1] >= 0).all()


@pytest.mark.real_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("head", ["origin", "maxpool", "dropout"])
def test_a_replay_equals_the_same_kernels_launched_one_by_one(precision, head):
    """To the bit, with deterministic convolutions: the capture changes who launches, not what is computed."""
    step = make_step("reduce-overhead", head, precision)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    try:
        warm_up(step, [make_batch()], make_batch(), no_warning)
        found = []
        for prepare in (lambda: None, step.launch_singly):
            prepare()
            with untouched(step):
                train(step, [make_batch()], 4)
                found.append([tensor.clone() for tensor in (step.losses, step.sums, step.predicted)])
    finally:
        torch.backends.cudnn.deterministic = False
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert found[0][0][:4].isfinite().all() and len(set(found[0][0][:4].tolist())) > 1


@pytest.mark.real_gpu
def test_compiled_gradients_are_those_of_fp32_within_the_rounding_of_bf16():
    """Both forwards and backwards of bf16 lie as near to fp32's as bf16's eight bits allow."""
    found = {}
    for mode, precision in (("off", "fp32"), ("off", "bf16"), ("default", "bf16")):
        step = make_step(mode, precision=precision)
        if mode != "off":
            warm_up(step, [make_batch()], None, no_warning)
        step.prepare(0.0, 0)
        batch = make_batch()
        loss = step.forward_train[step.size](batch.images, batch.labels, step.mix)
        step.scaler.scale(loss).backward()
        found[mode, precision] = torch.cat([p.grad.flatten().double() for p in step.model.parameters()])
    exact = found.pop(("off", "fp32"))
    errors = [float((gradient - exact).norm() / exact.norm()) for gradient in found.values()]
    assert max(errors) < 0.3 and errors[1] < 1.5 * errors[0] + 0.01


@pytest.mark.real_gpu
def test_the_compiled_forms_of_both_networks_capture():
    for arch in ("resnet18", "resnet50"):
        step = make_step("reduce-overhead", "maxpool", "bf16", arch)
        warm_up(step, [make_batch()], make_batch(), no_warning)
        assert isinstance(step.launch_train[64], Captured) and isinstance(step.launch_eval, Captured)
        train(step, [make_batch()])
        assert step.losses.isfinite().all()


@pytest.mark.real_gpu
def test_a_graph_goes_on_from_the_state_that_is_loaded():
    step = make_step("reduce-overhead", "dropout")
    warm_up(step, [make_batch()], make_batch(), no_warning)
    saved = copied(train(step, [make_batch()]).state_dict(), torch.clone, {})
    ends = []
    for _ in range(2):
        step.load_state_dict(saved)
        train(step, [make_batch()])
        assert isinstance(step.launch_train[64], Captured)
        ends.append([tensor.clone() for tensor in step.trained()])
    assert all(map(torch.equal, *ends)) and not torch.equal(ends[0][0].cpu(), next(iter(saved["model"].values())).cpu())


@pytest.mark.real_gpu
def test_warming_up_leaves_no_trace():
    step = make_step("reduce-overhead", "dropout")
    before = [tensor.detach().clone() for tensor in step.changing()]
    state = torch.cuda.get_rng_state()
    warm_up(step, [make_batch()], make_batch(), no_warning)
    for kept, tensor in zip(before, step.changing(), strict=True):
        assert torch.equal(kept, tensor)
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.real_gpu
def test_a_replay_draws_its_dropout_from_the_seed_of_its_step():
    step = make_step("reduce-overhead", "dropout")
    warm_up(step, [make_batch()], make_batch(), no_warning)
    losses = []
    for number in (5, 5, 6):
        with untouched(step):
            step.train(make_batch(), 0.0, number, 0)
            losses.append(step.loss.item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("mode", ["off", "default", "reduce-overhead"])
@pytest.mark.parametrize("precision, extras", [("bf16", {}), ("fp16", {}), ("bf16", EXTRAS)])
def test_the_loop_never_waits_for_the_device(mode, precision, extras):
    step = make_step(mode, "dropout", precision, **extras)
    warm_up(step, [make_batch()], make_batch(), no_warning)
    batches = [make_batch()]
    train(step, batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        train(step, batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.real_gpu
def test_the_maximum_over_space_is_deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        step = make_step("off", "maxpool")
        x = torch.randn(8, 512, 2, 2, device="cuda").relu().requires_grad_()
        first, second = (torch.autograd.grad(step.model.maxpool2(x).sum(), x)[0] for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
