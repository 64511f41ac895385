"""The step's three forms - eager, compiled, captured - do the same.

Compiling uses torch's backend "eager", which traces and guards like any other and then runs the same operators, so
results are equal to the bit. CUDA graphs are played by a stand-in here; `test_step_gpu.py` has the real ones.
"""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from fasttrain.environment import cpp_compiler
from fasttrain.errors import ConfigError
from fasttrain.runtime import memory_errors
from fasttrain.train.compile import untouched, warm_up, with_sound_cache
from fasttrain.train.pixels import shrink
from tests.train.steps import EXTRAS, SIZE, assert_same, hold, hold_and_train, make_batch, make_step, no_warning, train


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
