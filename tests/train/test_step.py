"""The step's three forms - eager, compiled, captured - do the same, and none of them waits for the device.

Compiling uses torch's backend "eager", which traces and guards like any other and then runs the same operators, so
results are equal to the bit. CUDA graphs are played by a stand-in here; `test_step_gpu.py` has the real ones.
"""

import contextlib
import dataclasses
import functools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from fasttrain import RunConfig
from fasttrain.data.batch import Batch
from fasttrain.environment import cpp_compiler
from fasttrain.errors import ConfigError
from fasttrain.runtime import Runtime, memory_errors, resolve
from fasttrain.train.compile import untouched, warm_up, with_sound_cache
from fasttrain.train.pixels import shrink
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


@pytest.fixture
def traced(monkeypatch):
    """torch.compile with the backend "eager"."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    yield
    torch._dynamo.reset()


@pytest.fixture
def graphs(monkeypatch):
    """CUDA graphs that replay the function that they hold; the list of them."""
    made = []

    class Graph:
        def __init__(self):
            self.replays = 0
            made.append(self)

        def replay(self):
            self.replays += 1
            self.holder.function(*self.holder.inputs)

    class Stream:
        def wait_stream(self, other):
            pass

    for name, fake in {"CUDAGraph": Graph, "Stream": Stream, "current_stream": Stream, "graph_pool_handle": object,
                       "stream": contextlib.nullcontext, "graph": lambda graph, **_: contextlib.nullcontext()}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return made


def hold(step):
    """Tells each stand-in which function it holds."""
    for captured in (*step.launch_train.values(), step.launch_eval):
        captured.graph.holder = captured


def hold_and_train(step):
    hold(step)
    return train(step, [make_batch()], steps=1)


def train(step, batches, steps=4):
    for index in range(steps):
        step.train(batches[index % len(batches)], 0.05, index, index)
    for batch in batches:
        step.evaluate(batch)
    return step


def assert_same(one, other):
    for a, b in zip(one.changing(), other.changing(), strict=True):
        assert torch.equal(a, b)


def test_warming_up_leaves_no_trace_and_changes_no_result(traced):
    plain, compiled = make_step(), make_step(compile="default")
    before = [tensor.clone() for tensor in compiled.changing()]
    state = torch.random.get_rng_state()
    warm_up(compiled, [make_batch()], make_batch(), no_warning)
    assert torch.equal(torch.random.get_rng_state(), state)
    for kept, tensor in zip(before, compiled.changing(), strict=True):
        assert torch.equal(kept, tensor)
    assert compiled.compile_seconds > 0
    assert_same(train(plain, [make_batch()]), train(compiled, [make_batch()]))


def test_warming_up_a_step_with_a_past_keeps_it():
    step = train(make_step(), [make_batch()])
    before = [tensor.clone() for tensor in step.changing()]
    with untouched(step):
        train(step, [make_batch()], steps=2)
    for kept, tensor in zip(before, step.changing(), strict=True):
        assert torch.equal(kept, tensor)


def test_nothing_compiles_after_the_warm_up_over_two_epochs_with_short_batches(traced):
    step = make_step(compile="default")
    warm_up(step, [make_batch()], make_batch(), no_warning)
    compiled = counters["stats"]["unique_graphs"]
    assert compiled == 2  # a training and an evaluation graph
    for _ in range(2):
        train(step, [make_batch(), make_batch(SIZE - 3)])
        step.evaluate(make_batch(valid=2))
    assert counters["stats"]["unique_graphs"] == compiled
    assert not counters["graph_break"]


def test_more_steps_in_one_process_than_torch_compiles_one_function(traced):
    for seed in range(torch._dynamo.config.recompile_limit // 2 + 1):
        warm_up(make_step(compile="default", seed=seed), [make_batch()], make_batch(), no_warning)


def test_a_captured_step_copies_its_batch_and_replays(traced, graphs):
    plain, captured = make_step(), make_step(graphs=True, compile="reduce-overhead")
    warm_up(captured, [make_batch()], make_batch(), no_warning)
    hold(captured)
    batches = [make_batch(), make_batch(SIZE - 3)]
    assert_same(train(plain, batches), train(captured, batches))
    assert [graph.replays for graph in graphs] == [2, 1]  # the short batches ran as they are


def test_a_captured_step_sees_the_state_that_it_loads(traced, graphs):
    plain = train(make_step(), [make_batch()])
    captured = make_step(graphs=True, compile="reduce-overhead")
    warm_up(captured, [make_batch()], make_batch(), no_warning)
    places = [tensor.data_ptr() for tensor in captured.changing()]
    captured.load_state_dict(plain.state_dict())
    assert [tensor.data_ptr() for tensor in captured.changing()] == places  # a graph reads nowhere else
    assert not {tensor.data_ptr() for tensor in plain.changing()} & set(places)
    assert_same(train(plain, [make_batch()], steps=1), hold_and_train(captured))
    assert [graph.replays for graph in graphs] == [1, 1]


def test_a_capture_that_fails_leaves_the_compiled_step(traced, graphs, monkeypatch):
    def refuse():
        raise RuntimeError("capture refused\nmore")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", refuse)
    warnings, plain, step = [], make_step(), make_step(graphs=True, compile="max-autotune-no-cudagraphs")
    monkeypatch.setattr(type(step.runtime), "inductor_mode", "default")
    warm_up(step, [make_batch()], make_batch(), warnings.append)
    assert len(warnings) == 1 and "without a CUDA graph: capture refused" in warnings[0] and "\n" not in warnings[0]
    assert_same(train(plain, [make_batch()]), train(step, [make_batch()]))
    assert counters["stats"]["unique_graphs"] == 2


def test_a_compile_that_fails_leaves_the_eager_step(monkeypatch):
    def refuse(*args, **kwargs):
        raise ImportError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", refuse)
    warnings, plain, step = [], make_step(), make_step(compile="default")
    warm_up(step, [make_batch()], make_batch(), warnings.append)
    assert warnings == ["compile default failed, training goes on eager: no C++ compiler"]
    assert_same(train(plain, [make_batch()]), train(step, [make_batch()]))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_lack_of_memory_is_one_line_that_names_the_batch(monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch, "compile", refuse)
    step = make_step(compile="default")
    with pytest.raises(ConfigError, match=r"batch size 8: .* smaller --batch-size"), memory_errors(SIZE):
        warm_up(step, [make_batch()], make_batch(), no_warning)
    with pytest.raises(ConfigError, match="batch size 8"), memory_errors(SIZE):
        torch.empty(10**15)
    with pytest.raises(ZeroDivisionError), memory_errors(SIZE):
        raise ZeroDivisionError


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


def test_extras_compile_once_and_train_as_they_do_eagerly(traced):
    plain, compiled = make_step(**EXTRAS), make_step(compile="default", **EXTRAS)
    warm_up(compiled, [make_batch()], make_batch(), no_warning)
    assert_same(train(plain, [make_batch()]), train(compiled, [make_batch()]))
    assert counters["stats"]["unique_graphs"] == 2 and not counters["graph_break"]


def test_extras_are_part_of_the_captured_step(traced, graphs):
    plain, captured = make_step(**EXTRAS), make_step(graphs=True, compile="reduce-overhead", **EXTRAS)
    warm_up(captured, [make_batch()], make_batch(), no_warning)
    hold(captured)
    assert_same(train(plain, [make_batch()]), train(captured, [make_batch()]))
    assert [graph.replays for graph in graphs] == [4, 1]


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


def test_half_a_kernel_in_the_compile_cache_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache" / "ab").mkdir(parents=True)
    kernel, foreign, calls = tmp_path / "cache" / "ab" / "kernel.so", tmp_path / "library.so", []

    def load(path, stays_broken=False):
        calls.append(path)
        if path.exists() or stays_broken:
            path.touch()
            raise RuntimeError(f"ImportError: {path}: file too short\n\nSet TORCHDYNAMO_VERBOSE=1")
        return "loaded"

    kernel.touch(), foreign.touch()
    assert with_sound_cache(load, kernel) == "loaded" and calls == [kernel, kernel]
    with pytest.raises(RuntimeError, match="file too short"):
        with_sound_cache(load, kernel, True)
    with pytest.raises(RuntimeError, match="library.so"):
        with_sound_cache(load, foreign)
    assert foreign.exists()


@pytest.mark.skipif(cpp_compiler()["state"] != "ok", reason="torch.compile needs a C++ compiler on a CPU")
def test_real_kernels_train_alike_and_are_found_again(cache, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))

    for attempt in ("miss", "hit"):
        torch._dynamo.reset()
        counters.clear()
        compiled = make_step(network=network, compile="reduce-overhead")  # on a CPU the same kernels, and no graph
        warm_up(compiled, [make_batch()], make_batch(), no_warning)
        assert counters["aot_autograd"][f"autograd_cache_{attempt}"] == 2
    assert any((cache / "compile").rglob("*.so"))
    plain = train(make_step(network=network), [make_batch()])
    torch.testing.assert_close(train(compiled, [make_batch()]).losses, plain.losses, rtol=1e-4, atol=1e-4)


def test_shrinking_is_pillows_bilinear_within_a_gray_level():
    images = make_batch().images
    for size in (8, 20, 31):
        shrunk = shrink(images, size)
        pillow = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in images.numpy()]
        assert shrunk.dtype == torch.uint8 and shrunk.shape == (SIZE, size, size, 3)
        assert (shrunk.int() - torch.from_numpy(np.stack(pillow)).int()).abs().max() <= 1
    assert shrink(images, 32) is images


def sized(step, sizes):
    """The step with the sizes that a run of larger images would have."""
    step.sizes, step.size = sorted(set(sizes)), max(sizes)
    step.run_eagerly()
    return step


def train_at(step, sizes):
    for index, size in enumerate(sizes):
        step.size = size
        step.train(make_batch(), 0.05, index, index)
    return step


def test_a_size_trains_as_if_the_loader_had_delivered_it():
    step, other = (sized(make_step(network=pooled_network, mix={"cutmix": 1.0}), [24, 32]) for _ in range(2))
    train_at(step, [24])
    other.size, batch = 24, make_batch()
    other.train(batch._replace(images=shrink(batch.images, 24)), 0.05, 0, 0)
    assert_same(step, other)


def pooled_network():
    """Takes images of any size."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 3))


def test_each_size_is_compiled_and_captured_once_before_training(traced, graphs):
    order = [24, 24, 32, 24]
    plain = sized(make_step(network=pooled_network, **EXTRAS), order)
    step = sized(make_step(graphs=True, network=pooled_network, compile="reduce-overhead", **EXTRAS), order)
    warm_up(step, [make_batch()], make_batch(), no_warning)
    compiled = counters["stats"]["unique_graphs"]
    assert compiled == 3 and len(graphs) == 3  # two sizes and the evaluation
    hold(step)
    assert_same(train_at(plain, order), train_at(step, order))
    assert counters["stats"]["unique_graphs"] == compiled and sorted(graph.replays for graph in graphs) == [0, 1, 3]


class LazyAdam(torch.optim.AdamW):
    """Makes its state in its first step, as torch's optimizers do."""


def with_lazy_state(step):
    step.optimizer = LazyAdam([{"params": list(step.model.parameters())}], lr=step.lr)
    return step


def test_state_that_an_optimizer_makes_late_does_not_outlive_the_warm_up(traced):
    plain, compiled = with_lazy_state(make_step()), with_lazy_state(make_step(compile="default"))
    warm_up(compiled, [make_batch()], make_batch(), no_warning)
    assert not compiled.optimizer.state
    assert_same(train(plain, [make_batch()]), train(compiled, [make_batch()]))
    before = [tensor.clone() for tensor in compiled.changing()]
    with untouched(compiled):
        train(compiled, [make_batch()])
    assert all(torch.equal(kept, tensor) for kept, tensor in zip(before, compiled.changing(), strict=True))


def test_a_graph_is_not_captured_around_state_that_is_not_there_yet(traced, graphs):
    warnings, step = [], with_lazy_state(make_step(graphs=True, compile="reduce-overhead"))
    warm_up(step, [make_batch()], make_batch(), warnings.append)
    assert len(warnings) == 1 and "LazyAdam makes its state in its first step" in warnings[0] and not graphs


def test_marks_name_the_phases_and_change_no_result(traced, graphs):
    plain, captured = make_step(), make_step(graphs=True, compile="reduce-overhead")
    warm_up(captured, [make_batch()], make_batch(), no_warning)
    hold(captured)
    phases = []
    with captured.marked(phases.append):
        captured.train(make_batch(), 0.05, 0, 0)
    assert phases == ["other", "host_to_device", "forward", "backward", "optimizer", "other"]
    plain.train(make_batch(), 0.05, 0, 0)
    captured.train(make_batch(), 0.05, 1, 1), plain.train(make_batch(), 0.05, 1, 1)
    assert_same(plain, captured)
    assert len(phases) == 6 and [graph.replays for graph in graphs] == [1, 0]
