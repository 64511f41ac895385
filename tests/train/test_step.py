"""One step: what each extra changes, what is keyed, and that nothing in the loop waits for the device."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from fasttrain.train.compile import warm_up
from fasttrain.train.pixels import shrink
from tests.train.steps import EXTRAS, SIZE, make_batch, make_step, no_warning, train


class Reads(TorchDispatchMode):
    """Counts the operators that bring a device's numbers, or how many there are, to the host."""

    names = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "_unique2")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in self.names or (name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])):
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_no_operator_of_the_loop_reads_back(optimizer, scaled):
    if optimizer == "muon" and scaled:
        pytest.skip("torch's scaler reads back for optimizers that are not fused")
    step = make_step(optimizer={"name": optimizer}, **EXTRAS)
    step.scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    with Reads() as reads:
        train(step, [make_batch(), make_batch(valid=3)])
    assert reads.seen == []
    with Reads() as reads:
        step.loss.item()
    assert reads.seen == ["_local_scalar_dense"]


def test_a_scaled_loss_trains_like_a_plain_one(traced):
    plain, scaled = make_step(), make_step(compile="default")
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    warm_up(scaled, [make_batch()], make_batch(), no_warning)
    train(plain, [make_batch()], 2), train(scaled, [make_batch()], 2)
    torch.testing.assert_close(scaled.losses, plain.losses, rtol=1e-4, atol=0)
    assert scaled.scaler.get_scale() == 2.0**10


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_changes_what_it_should(extra):
    plain, other = train(make_step(), [make_batch()]), train(make_step(**{extra: EXTRAS[extra]}), [make_batch()])
    same = torch.equal(plain.losses, other.losses), torch.equal(plain.sums[4:5], other.sums[4:5]), \
        torch.equal(plain.sums[:1], other.sums[:1])
    assert same == {"mix": (False, True, False), "ema": (True, True, False), "tta": (True, False, True),
                    "clip": (False, True, False)}[extra]


@pytest.mark.parametrize("scale", [None, 2.0**10])
def test_clipping_shortens_a_long_step_to_the_norm_and_leaves_a_short_one(scale):
    def moved(clip):
        step = make_step(clip=clip, recipe="original", optimizer={"momentum": 0, "weight_decay": 0})
        if scale:
            step.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        before = [p.detach().clone() for p in step.model.parameters()]
        step.train(make_batch(), 1.0, 0, 0)
        return torch.cat([(old - new).flatten() for old, new in zip(before, step.model.parameters(), strict=True)])

    free = moved(0)
    norm = free.norm().item()
    torch.testing.assert_close(moved(norm / 3), free / 3, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moved(norm * 3), free, rtol=1e-4, atol=1e-6)


def test_mirror_images_count_apart_and_are_the_mean_of_two_passes():
    step, batch = make_step(tta=True), make_batch(valid=SIZE - 1)
    mirrored = batch._replace(images=batch.images.flip(2))
    logits = []
    for one in (batch, mirrored):
        step.reset()
        step.evaluate(one)
        logits.append(step.eval_logits(one.images))
    step.reset()
    step.evaluate(batch)
    best = ((logits[0] + logits[1]) / 2).argmax(1)
    assert step.sums[4] == (best == batch.labels)[:SIZE - 1].sum()
    plain = make_step()
    plain.evaluate(batch)
    assert torch.equal(plain.sums, step.sums[:4]) and torch.equal(plain.predicted, step.predicted)


def test_hits_of_a_mixed_batch_count_for_the_larger_share():
    step, batch = make_step(mix={"mixup": 1.0}), make_batch()
    for share, labels in ((0.9, batch.labels), (0.1, batch.labels.roll(1))):
        step.mix.copy_(torch.tensor([0, 32, 0, 32, share, share]))
        torch.manual_seed(0)
        _, sums = step.loss_and_sums(batch.images, batch.labels, step.mix)
        torch.manual_seed(0)
        x = share * step.normalize(batch.images) + (1 - share) * step.normalize(batch.images.roll(1, 0))
        assert sums[1] == (step.model(x).argmax(1) == labels).sum()


def test_dropout_is_keyed_by_the_step():
    losses = []
    for seen, step_number in ((3, 5), (0, 5), (0, 6)):
        step = make_step()
        torch.rand(seen)
        step.train(make_batch(), 0.0, step_number, 0)
        losses.append(step.loss.item())
    assert losses[0] == losses[1] != losses[2]


def test_shrinking_is_pillows_bilinear_within_a_gray_level():
    images = make_batch().images
    for size in (8, 20, 31):
        shrunk = shrink(images, size)
        pillow = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in images.numpy()]
        assert shrunk.dtype == torch.uint8 and shrunk.shape == (SIZE, size, size, 3)
        assert (shrunk.int() - torch.from_numpy(np.stack(pillow)).int()).abs().max() <= 1
    assert shrink(images, 32) is images
