"""What the training and the evaluation step ask of the GPU, in every form that they take."""

import itertools
import json
import os
from pathlib import Path

import pytest
import torch

from tests.nullgpu import nullgpu
from tests.nullgpu.training import Configuration, record

pytestmark = pytest.mark.gpu_steps
BUDGET = Path(__file__).parent / "budget.json"
ARCHS, HEADS, RECIPES = ("resnet18", "resnet50"), ("origin", "maxpool", "dropout"), ("fast", "original")
ALL = [Configuration(*values) for values in
       itertools.product(ARCHS, HEADS, RECIPES, (False, True), (False, True))]
# every pair of two values occurs
CHOICE = [
    Configuration("resnet18", "origin", "fast", extras=False, resumed=True),
    Configuration("resnet50", "origin", "original", extras=True, resumed=False),
    Configuration("resnet18", "maxpool", "fast", extras=True, resumed=False),
    Configuration("resnet50", "maxpool", "original", extras=False, resumed=True),
    Configuration("resnet18", "dropout", "original", extras=False, resumed=False),
    Configuration("resnet50", "dropout", "fast", extras=True, resumed=True),
]
CONFIGURATIONS = ALL if os.environ.get("NULLGPU_CONFIGURATIONS") == "all" else CHOICE


@pytest.fixture(scope="module", params=CONFIGURATIONS, ids=str)
def configuration(request):
    return request.param


@pytest.fixture(scope="module")
def run(configuration, tmp_path_factory):
    """The Record of a run of the configuration."""
    return record(configuration, tmp_path_factory.mktemp("run"))


def nodes(run, phase):
    """The nodes of the one graph that each step of a phase launches."""
    [number] = nullgpu.graphs(run.of(phase)[0].events)
    return run.graphs[number]


def test_the_choice_holds_every_pair():
    for one, other in itertools.combinations(vars(CHOICE[0]), 2):
        def pairs(configurations, one=one, other=other):
            return {(getattr(c, one), getattr(c, other)) for c in configurations}
        assert pairs(CHOICE) == pairs(ALL)


@pytest.mark.parametrize("phase", ["train", "val"])
def test_a_step_is_one_captured_graph(run, phase):
    graphs = {tuple(nullgpu.graphs(step.events)) for step in run.of(phase)}
    assert len(graphs) == 1 and len(graphs.pop()) == 1
    for step in run.of(phase):
        assert not {"convolution", "product", "allocate", "load"} & set(nullgpu.counts(step.events))


def test_nothing_waits_between_two_steps(run):
    assert run.steps
    for step in run.steps:
        assert nullgpu.waits(step.events) == []


def test_no_call_is_forbidden_or_unknown(run):
    assert nullgpu.forbidden(run.events) == []


def test_nothing_is_compiled_or_captured_after_the_first_step(run):
    """The short last batch included."""
    late = run.after_the_first_step()
    assert nullgpu.compiled(late) == []
    assert nullgpu.graphs(late)


@pytest.mark.parametrize("phase", ["train", "val"])
def test_every_convolution_of_the_fast_recipe_is_channels_last_in_bf16(configuration, run, phase):
    if configuration.recipe != "fast":
        pytest.skip("the recipe is NCHW and fp32")
    assert nullgpu.counts(nodes(run, phase))["convolution"] >= 20
    assert nullgpu.not_channels_last_bf16(nodes(run, phase)) == []


@pytest.mark.parametrize("phase", ["train", "val"])
def test_nothing_is_copied_inside_the_graph(run, phase):
    assert [vars(node) for node in nodes(run, phase) if node.kind == "copy"] == []


@pytest.mark.parametrize("phase", ["train", "val"])
def test_no_generated_kernel_spills_registers(run, phase):
    registers = [node.registers for node in nodes(run, phase) if node.kind == "triton"]
    assert registers and min(registers) > 0
    assert nullgpu.spilled(nodes(run, phase)) == []


@pytest.mark.parametrize("phase", ["train", "val"])
def test_the_graph_has_no_more_nodes_than_budget_json_grants(configuration, run, phase, written):
    found = dict(sorted(nullgpu.counts(nodes(run, phase)).items()))
    name = str(configuration).removesuffix("-resumed")
    written.setdefault(name, {})[phase] = found
    granted = json.loads(BUDGET.read_text()).get(torch.__version__, {}).get(name, {}).get(phase)
    if os.environ.get("NULLGPU_RECORD") is None:
        assert granted, f"{BUDGET.name} has nothing for torch {torch.__version__}, {name}: {found}"
        assert sum(found.values()) <= sum(granted.values()), f"found {found}, granted {granted}"


def test_every_size_of_a_run_is_compiled_and_captured_before_its_first_step(tmp_path):
    found = record(Configuration("resnet18", "origin", "fast", sizes="32x1,48x1,64x1"), tmp_path)
    graphs = [nullgpu.graphs(step.events) for step in found.of("train")]
    assert len(graphs) == 3 == len({number for [number] in graphs})
    late = found.after_the_first_step()
    assert nullgpu.compiled(late) == []


def test_the_recipe_of_the_original_as_it_is_waits_for_nothing(tmp_path):
    """It is eager, in fp32 and NCHW."""
    found = record(Configuration("resnet18", "origin", "original", compiled=False), tmp_path)
    later = [step for step in found.steps if step.epoch > 1]
    assert len(later) >= 4
    for step in later:
        assert nullgpu.waits(step.events) == [] and nullgpu.graphs(step.events) == []
